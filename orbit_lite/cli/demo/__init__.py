"""`orbit-lite demo`: a bank on a cluster of node processes, and a file of transfers sent through its accounts.

    rows       CSV bytes → transfers and rejected rows, with line numbers
    money      amounts as integers of cents
    ordering   which transfers may run now, so that the result is that of the file read from top to bottom
    transfers  the life of one transfer: debit, credit, refund, and what is not known
    ledger     one account: its balance and what it remembers
    books      all ledgers, as the state machine that the nodes replicate
    keeper     how a node's actors write in the books: many commands a page
    bank       the actors: accounts, front ends of the books; and each node's clerk, who shows what they hold
    teller     drives transfers through actor invocations; asks again, settles what stayed unknown
    cluster    the node processes: start, watch, kill, stop
    member     what runs in each of them
    leadership who leads; what becomes of the cluster when the leader is killed
    audit      is everything that was acknowledged in the books of each node?
    play       the demo from beginning to end
    report     what happened, for machines and people
    command    the verb
    sample     the file that ships with the demo

A node process loads `member`, `bank`, `keeper`, `books` and `ledger` only.
"""

__all__: list[str] = []
