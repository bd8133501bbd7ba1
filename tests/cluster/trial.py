"""cronmill on a node, for a person to try: what `make cluster` does once the node is up.

Each step may be repeated, so a second `make cluster` puts changed programs and charts on the node that is up.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
import images
from node import TOOLS
from state import Failed

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "target/cronmill-image.tar"
# What the samples take for their database.
POSTGRES = "postgres:latest"
NAMESPACE = "cronmill"
# Where the samples go.
SHARED = "default"
LIMIT = "120s"

NEXT = """
cronmill runs on the node, in namespace {namespace}. In any shell on this machine:

  export KUBECONFIG={kubeconfig}
  export PATH={programs}:$PATH
  kubectl get pods -n {namespace}
  kubectl apply -R -f deploy/samples/
  kubectl get crontasks,taskqueues

What the node's programs write is in {log}. `make cluster-down` removes every trace.
"""


def prepare():
    """Builds all there is to build, best while no node takes its share of the machine; returns the image's digest.

    Cargo and Go at the same time: at the end of its build each of them leaves processors idle.
    """
    with ThreadPoolExecutor(1) as beside:
        image = beside.submit(run, "the image", sys.executable, ROOT / "deploy/image", IMAGE)
        for name in (*TOOLS, "helm"):
            build.folder_of(name)
        return re.search(r"sha256:\w+", image.result())[0]


def install(node, image):
    """Puts cronmill, a Redis and what the samples need on the node, and returns what to do next once it is ready."""
    state = node.state
    node.load(IMAGE)
    redis = images.redis(state / "data/redis.tar")
    images.postgres(state / "data/postgres.tar", POSTGRES)
    for name in ("redis", "postgres"):
        node.load(state / f"data/{name}.tar")
    kubectl = (node.state.choices()["tools"]["kubernetes"] + "/kubectl", f"--kubeconfig={state.kubeconfig}")
    helm = (build.folder_of("helm") / "helm", f"--kubeconfig={state.kubeconfig}", f"--namespace={NAMESPACE}")
    repository, tag = redis.name.rsplit(":", 1)
    values = (
        "--set=redis.bundled.enabled=true",
        f"--set=redis.bundled.image.repository={repository}",
        f"--set-string=redis.bundled.image.tag={tag}",
        f"--set=redis.sharedNamespaces={{{SHARED}}}",
        # The tag of the image stays the same when the programs change; this does not.
        f"--set-string=podAnnotations.digest={image}",
    )
    chart = ("upgrade", "--install", "--create-namespace", "cronmill", ROOT / "charts/cronmill")
    run("the chart", *helm, *chart, *values, f"--timeout={LIMIT}")
    for workload in run("the workloads", *kubectl, "-n", NAMESPACE, "get", "deploy,sts", "-o", "name").split():
        run("a rollout", *kubectl, "-n", NAMESPACE, "rollout", "status", workload, f"--timeout={LIMIT}")
    programs = ":".join((str(Path(kubectl[0]).parent), str(helm[0].parent)))
    return NEXT.format(namespace=NAMESPACE, kubeconfig=state.kubeconfig, programs=programs, log=state / "log")


def run(what, *words):
    """What a command prints; its progress is shown."""
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"{what}: {' '.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout
