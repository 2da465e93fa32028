"""Organizations that offer help, their offers, and the ledger of what each offer still has.

Owns     organizations and their approval, offers with their lines, every line's ledger
Never    decides what goes to whom, knows a household, keeps contact data of an organization
Trusts   matching to move reservations (scope `ledger:move`), and nobody to keep the ledger whole:
         the database refuses a column below zero and a sum other than the total
"""
