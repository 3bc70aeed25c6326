"""The expected result of each flow, by files only and by Google's names: the principal, or the failure."""

from typing import NamedTuple

KEY = "emulator@emulator-project.iam.gserviceaccount.com"
USER = "developer@example.com"
TARGET = "impersonated@emulator-project.iam.gserviceaccount.com"
MACHINE = "123456789012-compute@developer.gserviceaccount.com"
WORKLOAD = (
    "principal://iam.googleapis.com/projects/123456789012/locations/global/"
    "workloadIdentityPools/emulator/subject/tester"
)
WORKFORCE = (
    "principal://iam.googleapis.com/locations/global/workforcePools/emulator/subject/tester"
)


class Fails(NamedTuple):
    """A flow that cannot work: a pattern of its error, and the reason."""

    error: str
    why: str


def fixed(host):
    """The client ignores the address in the file, and calls this host of Google."""
    pattern = host.replace(".", r"\.")
    proxy = rf"host='{pattern}'.*ProxyError|request to https://{pattern}/.* ECONNREFUSED 127\.0\.0\.1:9"
    return Fails(proxy, f"The client calls https://{host}, whichever address the file has.")


OAUTH2 = fixed("oauth2.googleapis.com")
IAM = fixed("iamcredentials.googleapis.com")
PROJECTS = Fails(
    fixed("cloudresourcemanager.googleapis.com").error,
    "The client looks up the project at https://cloudresourcemanager.googleapis.com, unless "
    "GOOGLE_CLOUD_PROJECT has it.",
)
WRONG_SCOPE = Fails(
    "PermissionDeniedError: Error code: 403 - Request had insufficient authentication scopes",
    "Vertex AI refuses a token without one of its scopes, and so does the emulator.",
)

REVOKED = Fails(
    "AuthenticationError: Error code: 401",
    "The client of Google's page keeps a token until its expiry, so its user sees the 401 of a revoked one.",
)


def node(token_endpoint):
    """The table of google-auth-library for Node.js. Version 9 has another name of the token endpoint."""
    return {
        "service_account": (token_endpoint, KEY),
        "service_account, signs tokens with a scope": (KEY, KEY),
        "service_account, signs tokens with an audience": (KEY, KEY),
        "service_account, /tokeninfo": (token_endpoint, KEY),
        "service_account, ID token": (token_endpoint, KEY),
        "authorized_user": (OAUTH2, USER),
        "impersonated_service_account": (OAUTH2, TARGET),
        "external_account": (WORKLOAD, WORKLOAD),
        "external_account, impersonates": (TARGET, TARGET),
        "external_account_authorized_user": (WORKFORCE, WORKFORCE),
        "metadata server": (MACHINE, MACHINE),
    }


EXPECTED = {
    "google-auth (Python)": {
        "service_account": (KEY, KEY),
        "service_account, near the expiry": (KEY, KEY),
        "service_account, after a revocation": (REVOKED, REVOKED),
        "service_account, scope cloud-platform.read-only": (KEY, KEY),
        "service_account, scope aiplatform": (KEY, KEY),
        "service_account, scope devstorage": (WRONG_SCOPE, WRONG_SCOPE),
        "service_account, signs tokens with a scope": (KEY, KEY),
        "service_account, signs tokens with an audience": (KEY, KEY),
        "service_account, impersonates": (TARGET, TARGET),
        "service_account, ID token": (KEY, KEY),
        "service_account, ID token of the impersonated": (IAM, TARGET),
        "service_account, signBlob of the impersonated": (IAM, TARGET),
        "authorized_user": (OAUTH2, USER),
        "impersonated_service_account": (OAUTH2, TARGET),
        "external_account": (PROJECTS, WORKLOAD),
        "external_account, impersonates": (PROJECTS, TARGET),
        "external_account_authorized_user": (WORKFORCE, WORKFORCE),
        "metadata server": (MACHINE, MACHINE),
        "metadata server, ID token": (MACHINE, MACHINE),
    },
    "google-auth-library 9": node(fixed("www.googleapis.com")),
    "google-auth-library 10": node(OAUTH2),
    "google-auth-library 11": node(OAUTH2),
    "the sidecar": {
        "service_account": (KEY, KEY),
        "authorized_user": (USER, USER),
        "impersonated_service_account": (TARGET, TARGET),
        "external_account": (WORKLOAD, WORKLOAD),
        "external_account, impersonates": (TARGET, TARGET),
        "external_account_authorized_user": (WORKFORCE, WORKFORCE),
        "metadata server": (MACHINE, MACHINE),
    },
}
