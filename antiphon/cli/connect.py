"""What `talk` and `doctor` share: options of the command line that say where the model is."""

from __future__ import annotations

import ipaddress
import os
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import typer

from antiphon import RealtimeModel, defaults
from antiphon.endpoint import websocket_url

BaseUrl = Annotated[
    str | None, typer.Option(help="Address of the API; else OPENAI_BASE_URL, else the public one.")
]
Model = Annotated[str, typer.Option(help="The model's name.")]
AzureDeployment = Annotated[str | None, typer.Option(help="Use Azure, and this deployment.")]
AzureEndpoint = Annotated[
    str | None, typer.Option(help="https://RESOURCE.openai.azure.com; else AZURE_OPENAI_ENDPOINT.")
]
ApiVersion = Annotated[str | None, typer.Option(help="Azure's dated API; else OPENAI_API_VERSION.")]


class Options(NamedTuple):
    """What was given of them."""

    base_url: str | None
    model: str
    azure_deployment: str | None
    azure_endpoint: str | None
    api_version: str | None


def address_of(given: Options) -> str:
    """The address that the options and the environment name; not for Azure."""
    return given.base_url or os.environ.get("OPENAI_BASE_URL") or defaults.OPENAI_BASE_URL


def make_model(given: Options, **further: Any) -> RealtimeModel:
    """The model that the options and the environment name. Keys come from the environment only.

    Args:
        given: The command line's options.
        **further: Arguments of `RealtimeModel`.

    Raises:
        ValueError: A key or an address is missing or wrong; the message says how to give it.
    """
    if given.azure_deployment is not None:
        address = given.base_url or given.azure_endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
        if address:
            websocket_url(address, given.model, azure=True)
        return RealtimeModel.with_azure(
            azure_deployment=given.azure_deployment,
            azure_endpoint=given.azure_endpoint,
            api_version=given.api_version,
            base_url=given.base_url,
            model=given.model,
            **further,
        )
    if given.azure_endpoint is not None or given.api_version is not None:
        raise ValueError("--azure-endpoint and --api-version need --azure-deployment")
    address = address_of(given)
    # Before the key is looked for: one that is missing would hide an address that is wrong.
    websocket_url(address, given.model)
    if not os.environ.get("OPENAI_API_KEY"):
        if not is_this_machine(address):
            raise ValueError(
                f"no API key for {urlsplit(address).netloc.rpartition('@')[2]}: set OPENAI_API_KEY, or give "
                "another address with --base-url; only a server on this machine needs no key"
            )
        # A server of one's own, such as `antiphon serve`, takes any.
        further["api_key"] = "none"
    return RealtimeModel(base_url=given.base_url, model=given.model, **further)


def is_this_machine(address: str) -> bool:
    """Whether an address is of the loopback."""
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
