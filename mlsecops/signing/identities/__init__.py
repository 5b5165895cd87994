"""Identities that sign without a key of their own (keyless): issuers, subjects, proofs.

certificate of a bundle → `certificate`: subject and issuer → `identity`: trusted or not
+ `trusted_root` of a Sigstore instance → `transparency`: certificate, log entry and time hold
"""
