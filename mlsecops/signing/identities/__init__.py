"""Identities that sign without a key of their own (keyless): who they are, and the proof of it.

certificate of a bundle → `certificate`: subject and issuer → `identity`: trusted or not
+ `trusted_root` of a Sigstore instance → `transparency`: certificate, log entry and time hold
"""
