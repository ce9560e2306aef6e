// grpc-js as the other end of the interop tests: `node peer.js FOLDER_OF_SCHEMA`, modules by NODE_PATH.
//
// Each line on stdin is a command, {"id": 1, "do": "call", …}, and each is answered on stdout, in any order, by a line
// with its id: {"id": 1, …} or {"id": 1, "error": text}. Lines without an id are events of the Echo service. The end
// of stdin ends the process. Metadata are pairs [name, value], a value of a -bin name as base64.
"use strict";

const path = require("node:path");
const readline = require("node:readline");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const { HealthImplementation } = require("grpc-health-check");
const { ReflectionService } = require("@grpc/reflection");

const load = (file, ...includeDirs) => loader.loadSync(file, { keepCase: true, enums: String, defaults: true, includeDirs });
const echo = load(path.join(__dirname, "echo.proto"));
const schema = (file) => load(file, process.argv[2]);

const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const isBinary = (name) => name.endsWith("-bin");

function toMetadata(pairs) {
  const metadata = new grpc.Metadata();
  for (const [name, value] of pairs ?? []) metadata.add(name, isBinary(name) ? Buffer.from(value, "base64") : value);
  return metadata;
}

function toPairs(metadata) {
  return Object.keys(metadata?.getMap() ?? {}).flatMap((name) =>
    metadata.get(name).map((value) => [name, isBinary(name) ? value.toString("base64") : value]),
  );
}

// ---------------------------------------------------------------- server

let server;
let health;
let failure; // {code, message, details: base64 of google.rpc.Status}

// Send what the texts ask for; gives the trailing metadata.
async function answer(call, texts, replies, send) {
  const [command, argument] = (texts[0] ?? "").split(" ");
  if (command === "fail") {
    const metadata = toMetadata([["grpc-status-details-bin", failure.details]]);
    throw { code: failure.code, details: failure.message, metadata };
  }
  if (command === "hang") {
    tell({ event: "hanging" });
    if (!call.cancelled) await new Promise((resolve) => call.once("cancelled", resolve));
    tell({ event: "cancelled" });
  }
  const pairs = command === "mirror" ? toPairs(call.metadata).filter(([name]) => name.startsWith("x-")) : [];
  if (command === "mirror") call.sendMetadata(toMetadata(pairs));
  const value = command === "size" ? "x".repeat(Number(argument)) : texts.join(",");
  for (let sent = 0; sent < replies; sent += 1) await send({ value });
  return toMetadata(pairs);
}

async function write(call, message) {
  if (!call.write(message)) await new Promise((resolve) => call.once("drain", resolve));
}

async function serveUnary(call, texts, callback) {
  try {
    let reply;
    const trailing = await answer(call, await texts, 1, (message) => (reply = message));
    callback(null, reply, trailing);
  } catch (error) {
    callback(error);
  }
}

// Messages of a stream. Iterating over `call` itself would end the other direction too.
const messages = (call) => call.iterator({ destroyOnReturn: false });

async function collected(call) {
  const texts = [];
  for await (const { value } of messages(call)) texts.push(value);
  return texts;
}

async function serveStream(call, work) {
  try {
    call.end(await work());
  } catch (error) {
    call.emit("error", error);
  }
}

const service = {
  Unary: (call, callback) => serveUnary(call, [call.request.value], callback),
  Collect: (call, callback) => serveUnary(call, collected(call), callback),
  Expand: (call) => serveStream(call, () => answer(call, [call.request.value], 3, (message) => write(call, message))),
  Chat: (call) =>
    serveStream(call, async () => {
      let trailing;
      for await (const { value } of messages(call)) {
        trailing = await answer(call, [value], 1, (message) => write(call, message));
      }
      return trailing;
    }),
};

// ---------------------------------------------------------------- client

let client;
const calls = new Map();

const serialize = (name) => echo["test.Echo"][name]?.requestSerialize ?? echo["test.Echo"].Unary.requestSerialize;
const deserialize = (name) => echo["test.Echo"][name]?.responseDeserialize ?? echo["test.Echo"].Unary.responseDeserialize;

// Begin a call; `outcome` is a promise of what became of it, `replies` an iterator where the method streams them.
function begin({ method, texts, metadata, timeout }) {
  const shape = echo["test.Echo"][method] ?? {};
  const kind = (shape.requestStream ? "ClientStream" : "") + (shape.responseStream ? "ServerStream" : "");
  const make = { "": "Unary", ServerStream: "ServerStream", ClientStream: "ClientStream" }[kind] ?? "BidiStream";
  const options = timeout ? { deadline: Date.now() + timeout * 1000 } : {};
  const values = [`/test.Echo/${method}`, serialize(method), deserialize(method)];
  if (!shape.requestStream) values.push({ value: texts[0] });
  values.push(toMetadata(metadata), options);
  const found = { replies: [], initial: [] };
  if (!shape.responseStream) values.push((error, reply) => reply && found.replies.push(reply.value));
  const call = client[`make${make}Request`](...values);
  call.on("metadata", (initial) => (found.initial = toPairs(initial)));
  if (shape.responseStream) call.on("error", () => {}); // told by the status too
  const outcome = new Promise((resolve) => {
    call.on("status", (status) =>
      resolve({ ...found, status: status.code, message: status.details, trailing: toPairs(status.metadata) }),
    );
  });
  return { call, found, outcome, replies: shape.responseStream ? messages(call) : null };
}

function unary(path_, definition, request) {
  return new Promise((resolve) => {
    const { requestSerialize, responseDeserialize } = definition;
    client.makeUnaryRequest(path_, requestSerialize, responseDeserialize, request, (error, reply) =>
      resolve(error ? { status: error.code, message: error.details } : { status: 0, reply }),
    );
  });
}

// ---------------------------------------------------------------- commands

const commands = {
  // Serve Echo, health (SERVING under "") and reflection.
  async serve({ failure: asked, options }) {
    failure = asked;
    server = new grpc.Server(options);
    server.addService(echo["test.Echo"], service);
    health = new HealthImplementation({ "": "SERVING" });
    health.addToServer(server);
    new ReflectionService(echo).addToServer(server);
    const credentials = grpc.ServerCredentials.createInsecure();
    const bind = (done, failed) =>
      server.bindAsync("127.0.0.1:0", credentials, (error, port) => (error ? failed(error) : done(port)));
    return { port: await new Promise(bind) };
  },
  // Send GOAWAY to all connections; calls on them may finish, and new connections are taken.
  drain({ port }) {
    server.drain(`127.0.0.1:${port}`, 60_000);
  },
  setHealth({ service: name, status }) {
    health.setStatus(name, status);
  },

  connect({ port, options }) {
    client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), options);
  },
  async call(asked) {
    const { call, found, outcome, replies } = begin(asked);
    if (echo["test.Echo"][asked.method]?.requestStream) {
      const sending = (async () => {
        for (const value of asked.texts) await write(call, { value });
        call.end();
      })();
      sending.catch(() => {});
    }
    try {
      if (replies) for await (const { value } of replies) found.replies.push(value);
    } catch {
      // the outcome tells
    }
    return outcome.then((told) => ({ ...told, replies: found.replies }));
  },
  open(asked) {
    calls.set(asked.id, begin(asked));
  },
  async write({ call, text }) {
    await write(calls.get(call).call, { value: text });
  },
  end({ call }) {
    calls.get(call).call.end();
  },
  async read({ call }) {
    const { value, done } = await calls.get(call).replies.next();
    return { reply: done ? null : value.value };
  },
  cancel({ call }) {
    calls.get(call).call.cancel();
  },
  async outcome({ call }) {
    return await calls.get(call).outcome;
  },
  async check({ service: name }) {
    const { Check } = schema("grpc/health/v1/health.proto")["grpc.health.v1.Health"];
    return await unary(Check.path, Check, { service: name });
  },
  async listServices() {
    const reflection = schema("grpc/reflection/v1/reflection.proto")["grpc.reflection.v1.ServerReflection"];
    const { path: path_, requestSerialize, responseDeserialize } = reflection.ServerReflectionInfo;
    const call = client.makeBidiStreamRequest(path_, requestSerialize, responseDeserialize);
    call.write({ list_services: "" });
    const { value } = await call[Symbol.asyncIterator]().next();
    call.end();
    return { services: value.list_services_response.service.map(({ name }) => name) };
  },
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const command = JSON.parse(line);
  try {
    tell({ id: command.id, ...(await commands[command.do](command)) });
  } catch (error) {
    tell({ id: command.id, error: String(error.stack ?? error.details ?? error) });
  }
});
lines.on("close", () => process.exit(0));
