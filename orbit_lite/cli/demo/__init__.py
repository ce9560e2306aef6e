"""`orbit-lite demo`: a bank on a cluster of node processes, and a file of transfers sent through its accounts.

    rows       CSV bytes → transfers and rejected rows, with line numbers
    money      amounts as integers of cents
    ordering   which transfers may run now, so that the result is that of the file read from top to bottom
    transfers  the life of one transfer: debit, credit, refund, and what is not known
    ledger     one account: its balance and what it remembers
    bank       the actor around a ledger
    teller     drives transfers through actor invocations; settles what stayed unknown
    cluster    the node processes: start, watch, stop
    report     what happened, for machines and people
    command    the verb
    sample     the file that ships with the demo

A node process loads `bank` and `ledger` only.
"""

__all__: list[str] = []
