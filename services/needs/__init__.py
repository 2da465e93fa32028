"""The needs service: households and their identification, needs and their verification.

Owns    applicants, personal data (encrypted), needs, verification, public notice, objections,
        policies in force, and what each need still lacks.
Never   gives personal data to another service, puts it into an event, a log or a listing; never
        decides who helps whom; never guesses what another service did: commitments are told to it.
Trusts  the token issuer for who calls; the key store in its state directory for who may ever read
        personal data again. The matching service may move commitments and nothing else.

Besides the files every service has: `privacy` keeps personal data encrypted, `disclosures` makes
the digests that stand for it in events, `searching` makes search terms, `policies/` holds the
versioned clocks and lists.
"""
