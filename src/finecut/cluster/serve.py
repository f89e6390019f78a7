"""The HTTP API and the page on a Ray cluster: replicas of ``finecut serve`` under Ray Serve.

``finecut serve --cluster ADDRESS``, or with Ray's own tool, which also takes a config file:
``serve run finecut.cluster.serve:app index=s3://bucket/index max_replicas=8``. Each replica opens
the index for itself and follows its versions, exactly as a server of its own does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from finecut.cluster.connect import LOCAL, connected
from finecut.errors import FinecutError, QueryError, UsageError

log = logging.getLogger("finecut.cluster")

APP_NAME = "finecut"
BATCH = 16  # sentences that are encoded together
BATCH_WAIT_S = 0.002  # for others to come, once one is there
WAITING = 64  # requests of one replica that run or wait in it; Ray keeps the rest
STOP_WAIT_S = 30.0  # for requests in hand when a replica is taken away
CHECK_S = 0.1  # between two looks whether to stop


class ServeArgs(BaseModel):
    """What ``serve run finecut.cluster.serve:app KEY=VALUE …`` takes."""

    model_config = ConfigDict(extra="forbid")

    index: str = Field("", description="the index or an alias; FINECUT_INDEX without")
    token: str = Field("", description="asked of callers; FINECUT_TOKEN without")
    bundle: str = Field("", description="to search with; what the index names without")
    allowed_hosts: str = Field("", description="further Host names, with commas between")
    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(4, ge=1)
    target_requests: float = Field(4.0, gt=0, description="in hand per replica; more: another one")
    cpus: float = Field(1.0, gt=0, description="that a replica takes of the cluster")
    threads: int = Field(0, ge=0, description="of one run of a graph; 0: as many as cpus")


def app(args: ServeArgs) -> Any:
    """The Ray Serve application: what ``serve run`` and `serve` deploy.

    Raises:
        UsageError: settings that cannot be meant.
        MissingDependency: Ray is not installed.
    """
    from finecut.index.place import default_index
    from finecut.server.settings import Settings
    from finecut.storage.location import Location

    if args.max_replicas < args.min_replicas:
        raise UsageError(
            f"`max_replicas` is {args.max_replicas}, below `min_replicas`, {args.min_replicas}."
        )
    place = Location.parse(args.index).absolute() if args.index else default_index().absolute()
    token = args.token or os.environ.get("FINECUT_TOKEN") or None
    options: dict[str, Any] = {
        "bundle": args.bundle or None,
        "token": token,
        "allowed_hosts": tuple(name for name in args.allowed_hosts.split(",") if name),
        "threads": args.threads or max(1, round(args.cpus)),
    }
    Settings(index_dir=place, **options)  # says here, not in a replica, what is wrong
    return deployment(str(place), options, args).bind()


def deployment(index: str, options: dict[str, Any], args: ServeArgs) -> Any:
    """The deployment of which `app` makes an application."""
    from ray import serve as ray_serve

    build = _builder(index, options)
    scaling = {
        "min_replicas": args.min_replicas,
        "max_replicas": args.max_replicas,
        "target_ongoing_requests": args.target_requests,
    }
    return ray_serve.deployment(
        name="search",
        autoscaling_config=scaling,
        max_ongoing_requests=WAITING,
        graceful_shutdown_timeout_s=STOP_WAIT_S,
        health_check_period_s=5,
        health_check_timeout_s=30,
        ray_actor_options={"num_cpus": args.cpus},
    )(ray_serve.ingress(build)(Replica))


class Replica:
    """One replica; Ray mounts the app that `_builder` makes in it, and asks for its health."""

    app: Any  # set by ray.serve.ingress

    async def check_health(self) -> None:
        """Raises where the index can no longer be searched: Ray then starts another replica."""
        await asyncio.to_thread(self.app.state.finecut.library.snapshot)


def _builder(index: str, options: dict[str, Any]) -> Callable[[], Any]:
    """A function that makes the FastAPI app inside a replica. A replica counts as started when it
    returns, so it opens the index first: no request comes to a replica that cannot answer it."""

    def build() -> Any:
        from ray import serve as ray_serve

        from finecut.server.app import create_app

        @ray_serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_WAIT_S)
        async def encode(queries: list[str]) -> list[None]:
            await asyncio.to_thread(encode_together, made.state.finecut.library, queries)
            return [None] * len(queries)

        made = create_app(index, prepare=encode, **options)
        made.state.finecut.library.snapshot()
        made.state.finecut.library.warm_up()
        return made

    return build


def encode_together(library: Any, queries: Sequence[str]) -> None:
    """Encode the sentences of several requests in one run; the searcher remembers them.

    What is no plain sentence, or cannot be encoded, is left to the request it belongs to.
    """
    from finecut.text.query_language import parse

    sentences = []
    for query in queries:
        try:
            plain = parse(query).plain
        except QueryError:
            continue
        if plain is not None:
            sentences.append(plain)
    if not sentences:
        return
    try:
        library.snapshot().searcher.encode_texts(sentences)
    except FinecutError as error:
        log.info("not encoded together: %s", error)


def serve(
    address: str,
    args: ServeArgs,
    *,
    host: str,
    port: int,
    on_listening: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> None:
    """Deploy to a cluster, wait, and take the deployment away again.

    Args:
        address: of the cluster; "local" starts one on this machine.
        args: what to deploy.
        host: address the cluster's proxies listen on; any but loopback needs a token.
        port: that they listen on.
        on_listening: called with the page's address once requests are answered.
        should_stop: asked often; once True the deployment is taken away.

    Raises:
        UsageError: no token for an open address, no cluster there, or settings that cannot be.
        FinecutError: the replicas do not start.
        MissingDependency: Ray is not installed.
    """
    from finecut.server.run import check_bind, page_url

    check_bind(host, args.token or os.environ.get("FINECUT_TOKEN") or None)
    with connected(address):
        from ray import serve as ray_serve
        from ray.serve.config import HTTPOptions

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        application = app(args)
        ray_serve.start(http_options=HTTPOptions(host=host, port=port))
        try:
            try:
                ray_serve.run(application, name=APP_NAME, route_prefix="/")
            except RuntimeError as error:
                raise FinecutError(
                    f"The replicas do not start ({str(error).strip().splitlines()[-1]:.500}). "
                    "Try the index on one machine first: finecut serve --index "
                    f"{args.index or 'DIR'}"
                ) from error
            on_listening(page_url(host, port))
            while not should_stop():
                time.sleep(CHECK_S)
        finally:
            ray_serve.delete(APP_NAME)
            if address == LOCAL:
                ray_serve.shutdown()
