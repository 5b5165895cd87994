"""Key services and devices: keys that sign digests where they are, and never leave.

URI → `service` → `pkcs11` · `aws` · `google` · `azure` · `vault` → public key, signatures
`formats`: signatures as r‖s ↔ DER, public keys as PEM
"""
