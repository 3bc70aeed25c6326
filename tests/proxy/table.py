"""The credentials and the ways out of the network, and the hosts of each cell that the proxy must have seen."""

OAUTH, STS, IAM = "oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"
API = "us-central1-aiplatform.googleapis.com"

# The name of the file in the emulator's control API, and the hosts that issue its tokens. The metadata server
# has no proxy.
CREDENTIALS = {
    "key": ("service_account_key", [OAUTH]),
    "user": ("authorized_user", [OAUTH]),
    "metadata": (None, []),
    "federation": ("external_account", [STS]),
    "impersonation": ("impersonated_service_account", [IAM, OAUTH]),
}

NONE, PROXY, LOGIN, READS_TLS = "no proxy", "squid", "squid with login", "mitmproxy"
WAYS = [NONE, PROXY, LOGIN, READS_TLS]


def expected(credential, way):
    return [] if way == NONE else sorted([*CREDENTIALS[credential][1], API])
