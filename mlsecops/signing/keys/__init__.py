"""Keys: public keys that verify, and signers that sign.

`pem` → `public_key`: PublicKey · `signer`: Signer, KeySigner, ServiceSigner (a key in a service)
"""

from mlsecops.signing.keys.pem import Password as Password
from mlsecops.signing.keys.pem import load_certificates as load_certificates
from mlsecops.signing.keys.pem import read_pem as read_pem
from mlsecops.signing.keys.public_key import KeyType as KeyType
from mlsecops.signing.keys.public_key import PublicKey as PublicKey
from mlsecops.signing.keys.signer import KeySigner as KeySigner
from mlsecops.signing.keys.signer import ServiceSigner as ServiceSigner
from mlsecops.signing.keys.signer import Signer as Signer
from mlsecops.signing.keys.signer import signature_by as signature_by
