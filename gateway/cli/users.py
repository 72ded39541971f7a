"""`gateway users`: one-time links with which users enter credentials of their own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from gateway.cli.acting import check_signed, confirm, with_acts, with_vault
from gateway.cli.command import command, group
from gateway.cli.gateway_url import local_gateway_url
from gateway.cli.options import json_option, store_options, web_url
from gateway.cli.output import moment, note, print_json, print_table
from gateway.domain.errors import UsageError
from gateway.domain.links import check_user, read_requested
from gateway.domain.nearest import nearest
from gateway.domain.settings import StoreSettings
from gateway.services.audit.acts import Acts
from gateway.services.credentials.links import Links, NewLink, by_user
from gateway.services.credentials.vault import Vault
from gateway.store.links import LinkStore

T = TypeVar("T")

LINK_EXAMPLE = "gateway users link alice --credentials github,aliyun:ak_sk"


@command(LINK_EXAMPLE)
@click.argument("user")
@click.option(
    "--credentials",
    required=True,
    metavar="NAME[:TYPE],…",
    help="What the user is asked for; api_key where no type is given.",
)
@click.option(
    "--url",
    metavar="URL",
    envvar="GATEWAY_URL",
    help="Where users reach the data listener. Default: where a gateway on this machine listens.",
)
@json_option
@store_options
def link(store: StoreSettings, user: str, credentials: str, url: str | None, as_json: bool) -> None:
    """Make a one-time URL at which the user enters the values.

    It is good for 15 minutes. Send it to that user only: whoever enters values there first decides
    with which credentials this user's tools are called.
    """
    check_user(user)
    wanted = read_requested(credentials)
    url = url or asyncio.run(local_gateway_url(store))
    url = web_url("--url", url)
    check_signed(store)

    async def work(links: Links, acts: Acts) -> NewLink:
        return await links.make(user, wanted, acts)

    made = _with_links(store, work)
    address = made.url(url)
    if as_json:
        names = [one.name for one in made.wanted]
        facts = {"url": address, "user": user, "credentials": names, "expires_at": made.expires_at}
        print_json(facts)
        return
    click.echo(address)
    note(f"For {user}, once, until {moment(made.expires_at)}.")


@command("gateway users list --json", name="list")
@json_option
@store_options
def list_users(store: StoreSettings, as_json: bool) -> None:
    """List users with credentials of their own or an open link."""
    open_links = _with_links(store, lambda links, _: links.waiting())
    brought = by_user(with_vault(store, Vault.names), open_links)
    rows = [
        {"user": user, "credentials": names, "link_seconds": open_links.get(user)}
        for user, names in brought.items()
    ]
    if as_json:
        print_json({"users": rows})
        return
    print_table(("USER", "CREDENTIALS", "LINK"), [_row(row) for row in rows])
    if not rows:
        note("No user has credentials yet: 'gateway users link' asks a user for them.")


def _row(row: dict[str, Any]) -> tuple[str, str, str]:
    seconds = row["link_seconds"]
    shown = f"open for {-(-seconds // 60)} min" if seconds else ""
    return row["user"], " ".join(row["credentials"]), shown


@command(
    "gateway users unlink alice --credentials github --yes",
    "gateway users unlink alice --links-only",
)
@click.argument("user")
@click.option("--credentials", metavar="NAME,…", help="Only these. Default: all of the user's.")
@click.option("--links-only", is_flag=True, help="End open links, and keep the credentials.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@store_options
def unlink(
    store: StoreSettings,
    user: str,
    credentials: str | None,
    links_only: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End a user's open links, and remove the user's credentials."""
    check_user(user)
    if links_only and credentials is not None:
        raise UsageError("--links-only keeps all credentials: leave out --credentials.")
    only = None if credentials is None else {one.name for one in read_requested(credentials)}
    if not links_only:
        what = "all credentials" if only is None else ", ".join(sorted(only))
        confirm(f"Remove {what} of {user} for good?", yes=yes)
    check_signed(store)

    known = set[str]()

    async def remove(vault: Vault) -> list[str]:
        removed = []
        for name in await vault.names():
            known.add(name.owner)
            if name.owner == user and (only is None or name.name in only):
                await vault.delete(name)
                removed.append(name.name)
        return removed

    async def end(links: Links, acts: Acts) -> int:
        ended = await links.end_all_of(user, acts)
        known.update(await links.waiting())
        return ended

    # First the links: through one that is open, a credential could come that is not removed.
    ended = _with_links(store, end)
    removed = [] if links_only else with_vault(store, remove)
    if as_json:
        print_json({"user": user, "removed": removed, "links_ended": ended})
    else:
        note(f"Removed from {user}: {', '.join(removed) or 'nothing'}. Links ended: {ended}.")
        if not (removed or ended or user in known) and (near := nearest(user, known)):
            note(f"Did you mean {near!r}?")


def _with_links(store: StoreSettings, work: Callable[[Links, Acts], Awaitable[T]]) -> T:
    return with_acts(
        store,
        lambda client, acts: work(Links(LinkStore(client, store.prefix)), acts),
    )


users = group(
    "users",
    "Let users enter credentials of their own, which nobody else ever sees.",
    LINK_EXAMPLE,
    *(link, list_users, unlink),
)
