"""Runs all flows in a network where Google's host names lead to the emulator. Prints a JSON object for each."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from sidecar import BINARY, PATIENCE, Process, free_port, poll
from proxies import IN_URL, Mitmproxy, Squid
from table import API, CREDENTIALS, LOGIN, NONE, OAUTH, PROXY, READS_TLS, WAYS

CONTROL = os.environ["VERTEX_EMULATOR_CONTROL_URL"]
ROOTS = os.environ["SSL_CERT_FILE"]
TARGET = ["--project=emulator-project", f"--location={API.split('-aiplatform')[0]}"]
# Directly below /tmp, because squid has no rights in the folders of root.
folder = Path(tempfile.mkdtemp(prefix="proxies-"))
folder.chmod(0o755)


def control(name):
    with urllib.request.urlopen(f"{CONTROL}/__emulator/{name}", timeout=PATIENCE) as response:
        return response.read().decode()


def say(name, **result):
    print(json.dumps({"name": name, **result}), flush=True)


def new_folder(name):
    (folder / name).mkdir()
    return folder / name


def credentials(name):
    """The options for credentials."""
    kind = CREDENTIALS[name][0]
    if not kind:
        return []
    token, path = folder / "subject-token", folder / f"{name}.json"
    token.write_text(control("subject_token"))
    path.touch(mode=0o600)
    path.write_text(control(f"{kind}?file={token}&at=google"))
    return ["--credentials", str(path)]


def environment(**more):
    """The variables of the sidecar: none of those that name a proxy."""
    return {
        "SSL_CERT_FILE": ROOTS,
        "CLOUDSDK_CONFIG": str(folder),
        "PATH": "/nowhere",
        "VERTEX_GATEWAY_LOG": "debug",
        **more,
    }


def chat(options, then=None, **variables):
    """Serves one stream with these options. Returns its status and text, and all that the sidecar logged. With
    `then`, the stream is repeated after it until it succeeds; its first status is returned too."""
    log = folder / "log"
    gateway = Process("serve", "--listen", "127.0.0.1:0", *TARGET, *options, env=environment(**variables), log=log)
    try:
        url = gateway.read("listening on ")
        message = {"role": "user", "content": "hello"}
        body = {"model": "google/gemini-2.5-flash", "messages": [message], "stream": True}
        request = urllib.request.Request(
            f"{url}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )

        def answer():
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        first = status, text = answer()
        if then:
            then()
            status, text = poll(lambda: repeated if (repeated := answer())[0] == 200 else None)
    finally:
        gateway.stop()
    return {"first": first[0], "status": status, "text": text, "log": log.read_text()}


def command(name, options, **variables):
    run = subprocess.run(
        [BINARY, name, *options], env=environment(**variables), capture_output=True, text=True, timeout=PATIENCE
    )
    return {"code": run.returncode, "output": run.stdout + run.stderr}


def main(stack):
    squid, login = Squid(new_folder("squid")), Squid(new_folder("login"), login=True, refused=OAUTH + ".")
    stack.callback(squid.stop)
    stack.callback(login.stop)
    strict = Squid(new_folder("strict"), refused=OAUTH)
    stack.callback(strict.stop)
    reader = Mitmproxy(new_folder("mitmproxy"), ROOTS)
    stack.callback(reader.stop)
    all_proxies = [squid, login, strict, reader]
    ways = {
        NONE: (None, [], {}),
        PROXY: (squid, ["--proxy", squid.url()], {}),
        # The variables that other programs read.
        LOGIN: (login, [], {"HTTPS_PROXY": login.url(IN_URL)}),
        READS_TLS: (reader, ["--proxy", reader.url(), "--upstream-ca", str(reader.authority)], {}),
    }

    def seen(proxy):
        """The hosts of the flow. No other proxy may have seen any."""
        others = [host for other in all_proxies if other is not proxy for host in other.hosts()]
        return {"hosts": proxy.hosts() if proxy else [], "elsewhere": others}

    def cell(name, way, run):
        result = run | seen(ways[way][0] if way in ways else way)
        result["short"] = [host.split(".")[0].replace("us-central1-", "") for host in result["hosts"]]
        result["principal"] = json.loads(control("requests"))[-1].get("principal")
        say(name, **result)

    for way in WAYS:
        proxy, options, variables = ways[way]
        for credential in CREDENTIALS:
            run = chat([*credentials(credential), *options], **variables)
            cell(f"{credential}, {way}", way, run)
    say("read by mitmproxy", token=reader.has_read(f"{OAUTH}/token"), chat=reader.has_read(API))

    key = credentials("key")
    variables = {"HTTPS_PROXY": squid.url()}
    cell("NO_PROXY", squid, chat(key, NO_PROXY=f"x.example.com,{OAUTH}", **variables))
    cell("--no-proxy", squid, chat([*key, "--no-proxy", "*.googleapis.com"], **variables))
    cell("HTTP_PROXY of CGI", squid, chat(key, HTTP_PROXY=squid.url(), REQUEST_METHOD="GET"))
    listed = command("endpoints", [*TARGET, *key, "--proxy", squid.url()])
    cell("endpoints", squid, {"status": listed["code"], **listed})

    nowhere = f"http://127.0.0.1:{free_port()}"
    for name, options in {
        "works": ["--proxy", login.url(IN_URL)],
        "no login": ["--proxy", login.url()],
        "wrong login": ["--proxy", login.url("me:hunter2")],
        "refused": ["--proxy", strict.url("me:hunter2")],
        "gone": ["--proxy", nowhere.replace("//", "//me:hunter2@")],
        "unknown authority": ["--proxy", reader.url()],
        "SOCKS": ["--proxy", "socks5://me:hunter2@127.0.0.1:1080"],
    }.items():
        say(f"check, {name}", **command("check", [*TARGET, *key, *options]))
    changing = folder / "changing.pem"
    shutil.copyfile(os.environ["NODE_EXTRA_CA_CERTS"], changing)
    options = [*key, "--proxy", reader.url(), "--upstream-ca", str(changing)]
    say("changed authority", **chat(options, then=lambda: changing.write_bytes(reader.authority.read_bytes())))
    say("served, wrong login", **chat([*key, "--proxy", login.url("me:hunter2")]))
    aws = folder / "aws.json"
    federation = json.loads((folder / "federation.json").read_text())
    federation["credential_source"] = {"environment_id": "aws1", "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"}
    aws.write_text(json.dumps(federation))
    for name, options, variables in [
        ("option", ["--proxy", squid.url()], {}),
        ("variable", [], {"HTTPS_PROXY": squid.url()}),
    ]:
        say(f"AWS, {name}", **command("token", ["--credentials", str(aws), *options], **variables))


try:
    with ExitStack() as stack:
        main(stack)
finally:
    shutil.rmtree(folder, ignore_errors=True)
