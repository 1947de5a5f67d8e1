"""A line with a belt, a camera position, a shift register and a reject gate, run by a PLC that trusts nobody.

It imports nothing of the station: what it knows of the contract is what ``docs/plc.md`` says.
"""
