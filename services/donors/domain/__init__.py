"""States, transitions and rules of organizations, offers and the ledger; pure.

Times and people come in as values. Quantities are integers in the item class's base unit unless
a name says `entered`.
"""
