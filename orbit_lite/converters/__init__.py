"""Wire messages (orbit_proto) ⇄ domain values (orbit_lite.model), in both directions.

Each converter is a pair of static methods, `to_proto(value)` and `from_proto(proto)`. `from_proto` gives a valid domain
value or raises ConversionError with the dotted path of the field at fault (`vote.vote`, `lease.expires_at`); nothing
that is missing is made up. `to_proto` raises it for the few values that the wire cannot say. Neither disturbs the
message: which fields of it are present stays visible to the codec.
"""

from orbit_lite.converters.commands import RaftCommandConverter
from orbit_lite.converters.keys import (
    AddressableReferenceConverter,
    KeyConverter,
    KeyKinds,
    NamespacedAddressableReferenceConverter,
    ReferenceTextConverter,
)
from orbit_lite.converters.messages import (
    ConnectionInfoResponseConverter,
    InvocationReasonConverter,
    InvocationRequestConverter,
    MessageContentConverter,
    MessageConverter,
    MessageTargetConverter,
)
from orbit_lite.converters.nodes import (
    AddressableLeaseConverter,
    NodeCapabilitiesConverter,
    NodeIdConverter,
    NodeInfoConverter,
    NodeLeaseConverter,
    NodeStatusConverter,
)
from orbit_lite.converters.raft import (
    AppendEntriesRequestConverter,
    AppendEntriesResponseConverter,
    LogEntryConverter,
    VoteRequestConverter,
    VoteResponseConverter,
)
from orbit_lite.converters.timestamps import TimestampConverter
from orbit_lite.converters.transactions import (
    TransactionIdConverter,
    TransactionMessageConverter,
    TransactionOperationConverter,
    TransactionStateConverter,
    TransactionTargetConverter,
    TransactionVoteConverter,
)

__all__ = [
    "AddressableLeaseConverter",
    "AddressableReferenceConverter",
    "AppendEntriesRequestConverter",
    "AppendEntriesResponseConverter",
    "ConnectionInfoResponseConverter",
    "InvocationReasonConverter",
    "InvocationRequestConverter",
    "KeyConverter",
    "KeyKinds",
    "LogEntryConverter",
    "MessageContentConverter",
    "MessageConverter",
    "MessageTargetConverter",
    "NamespacedAddressableReferenceConverter",
    "NodeCapabilitiesConverter",
    "NodeIdConverter",
    "NodeInfoConverter",
    "NodeLeaseConverter",
    "NodeStatusConverter",
    "RaftCommandConverter",
    "ReferenceTextConverter",
    "TimestampConverter",
    "TransactionIdConverter",
    "TransactionMessageConverter",
    "TransactionOperationConverter",
    "TransactionStateConverter",
    "TransactionTargetConverter",
    "TransactionVoteConverter",
    "VoteRequestConverter",
    "VoteResponseConverter",
]
