"""Google's library for Python, with each kind of credentials, up to a response of Vertex AI.

`client.py` calls Google's own addresses, and `client.py URL` calls an emulator at a base URL. Each flow
prints one line of JSON: its name, and either the principal of the token or the error.
"""

import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

import google.auth
import google.auth.impersonated_credentials
import google.auth.jwt
import openai
from google.auth.transport.requests import Request
from google.oauth2 import id_token, service_account

OWN = sys.argv[1] if len(sys.argv) > 1 else None
CONTROL = OWN or os.environ["VERTEX_EMULATOR_CONTROL_URL"]
API = OWN or "https://us-central1-aiplatform.googleapis.com"
AUTH = "https://www.googleapis.com/auth"
SCOPE = f"{AUTH}/cloud-platform"
TARGET = "impersonated@emulator-project.iam.gserviceaccount.com"
AUDIENCE = "https://service.example.com"
FILE = "GOOGLE_APPLICATION_CREDENTIALS"
folder = Path(tempfile.mkdtemp())


def control(name, method="GET", body=None):
    url = f"{CONTROL}/__emulator/{name}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read().decode()


def credential_file(kind):
    """Writes a credential file. Its addresses are Google's, or the emulator's own."""
    token = folder / "subject-token"
    token.write_text(control("subject_token"))
    at = "" if OWN else "&at=google"
    path = folder / f"{kind}.json"
    path.write_text(control(f"{kind}?file={token}{at}"))
    return str(path)


class RefreshedClient:
    """An OpenAI client that gets a new key when its token has expired.

    Google's page about authentication with the OpenAI library shows this: each attribute of the client is
    read through an object that first looks at the credentials."""

    def __init__(self, credentials, **options):
        self._credentials = credentials
        self._client = openai.OpenAI(api_key="none", max_retries=0, timeout=30, **options)

    def __getattr__(self, name):
        if not self._credentials.valid:
            self._credentials.refresh(Request())
        token = self._credentials.token
        # A token that google-auth signs itself is of another type.
        self._client.api_key = token.decode() if isinstance(token, bytes) else token
        return getattr(self._client, name)


def openai_client(credentials):
    path = "v1/projects/emulator-project/locations/us-central1/endpoints/openapi"
    return RefreshedClient(credentials, base_url=f"{API}/{path}")


def send(client):
    """Sends a chat, and returns the record of the request."""
    client.chat.completions.create(
        model="google/gemini-2.5-flash", messages=[{"role": "user", "content": "hello"}]
    )
    return json.loads(control("requests"))[-1]


def chat(credentials):
    """Sends a chat, and returns the principal of its token."""
    return send(openai_client(credentials))["principal"]


def default(kind, scope=SCOPE):
    """The chat of Google's page, with Application Default Credentials."""
    os.environ[FILE] = credential_file(kind)
    credentials, _ = google.auth.default(scopes=[scope])
    return chat(credentials)


def refreshed():
    """Two chats with tokens that expire soon: google-auth fetches a new one for each."""
    control("token", "PUT", {"expires_in": 100})
    try:
        client = openai_client(key(scopes=[SCOPE]))
        first, second = send(client), send(client)
    finally:
        control("token", "PUT", {})
    assert second["token_generation"] == first["token_generation"] + 1
    return second["principal"]


def revoked():
    """Two chats, and between them the end of the token."""
    client = openai_client(key(scopes=[SCOPE]))
    send(client)
    control("revoke", "POST")
    return send(client)["principal"]


def key(**options):
    file = credential_file("service_account_key")
    return service_account.Credentials.from_service_account_file(file, **options)


def metadata_server():
    os.environ.pop(FILE, None)
    os.environ["CLOUDSDK_CONFIG"] = str(folder)
    credentials, project = google.auth.default(scopes=[SCOPE])
    assert project == "emulator-project", project
    return chat(credentials)


def impersonated(source):
    base = f"{OWN}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken" if OWN else None
    return google.auth.impersonated_credentials.Credentials(
        source_credentials=source,
        target_principal=TARGET,
        target_scopes=[SCOPE],
        iam_endpoint_override=base,
    )


def signed_by_itself(audience):
    if audience:
        file = credential_file("service_account_key")
        return chat(google.auth.jwt.Credentials.from_service_account_file(file, audience=audience))
    return chat(key(scopes=[SCOPE]).with_always_use_jwt_access(True))


def verified(token):
    """The account of an ID token, after its signature was checked with the keys of the issuer."""
    if OWN:
        certificates = f"{OWN}/oauth2/v1/certs"
        claims = id_token.verify_token(token, Request(), AUDIENCE, certs_url=certificates)
    else:
        claims = id_token.verify_oauth2_token(token, Request(), AUDIENCE)
    return claims["email"]


def id_token_of_a_key():
    credentials = service_account.IDTokenCredentials.from_service_account_file(
        credential_file("service_account_key"), target_audience=AUDIENCE
    )
    credentials.refresh(Request())
    return verified(credentials.token)


def id_token_of_the_machine():
    os.environ.pop(FILE, None)
    return verified(id_token.fetch_id_token(Request(), AUDIENCE))


def id_token_of_the_impersonated():
    credentials = google.auth.impersonated_credentials.IDTokenCredentials(
        impersonated(key(scopes=[SCOPE])), target_audience=AUDIENCE, include_email=True
    )
    credentials.refresh(Request())
    return verified(credentials.token)


def blob_of_the_impersonated():
    credentials = impersonated(key(scopes=[SCOPE]))
    assert len(credentials.sign_bytes(b"a blob")) == 256
    return credentials.signer_email


FLOWS = {
    "service_account": lambda: default("service_account_key"),
    "service_account, near the expiry": refreshed,
    "service_account, after a revocation": revoked,
    "service_account, scope cloud-platform.read-only": lambda: default(
        "service_account_key", f"{AUTH}/cloud-platform.read-only"
    ),
    "service_account, scope aiplatform": lambda: default(
        "service_account_key", f"{AUTH}/aiplatform"
    ),
    "service_account, scope devstorage": lambda: default(
        "service_account_key", f"{AUTH}/devstorage.read_only"
    ),
    "service_account, signs tokens with a scope": lambda: signed_by_itself(None),
    "service_account, signs tokens with an audience": lambda: signed_by_itself(
        "https://aiplatform.googleapis.com/"
    ),
    "service_account, impersonates": lambda: chat(impersonated(key())),
    "service_account, ID token": id_token_of_a_key,
    "service_account, ID token of the impersonated": id_token_of_the_impersonated,
    "service_account, signBlob of the impersonated": blob_of_the_impersonated,
    "authorized_user": lambda: default("authorized_user"),
    "impersonated_service_account": lambda: default("impersonated_service_account"),
    "external_account": lambda: default("external_account"),
    "external_account, impersonates": lambda: default("external_account_impersonated"),
    "external_account_authorized_user": lambda: default("external_account_authorized_user"),
    "metadata server": metadata_server,
    "metadata server, ID token": id_token_of_the_machine,
}

for name, flow in FLOWS.items():
    try:
        result = {"principal": flow()}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"flow": name, **result}), flush=True)
