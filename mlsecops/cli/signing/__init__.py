"""Commands for digests, keys and signatures.

PATH → hash → digest; keygen → KEY.pem → sign → bundle → verify → exit status
"""
