"""``objection campaigns`` and ``objection releases``: what operators and consumer groups do about the counts."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from server.cli_common import (
    INVALID,
    one_line,
    open_stored_register,
    printable,
    read_file,
    read_policy,
    read_settings,
)
from server.errors import ObjectionError


@click.group()
def campaigns() -> None:
    """Look after the campaigns of consumer groups, and their API keys."""


@campaigns.command("add")
@click.argument("slug")
@click.option(
    "--name", "names", multiple=True, required=True, metavar="LANGUAGE=NAME", help="For example en='Fair AI'."
)
@click.option("--country", "countries", multiple=True, required=True, metavar="CODE", help="Whose figures it gets.")
@click.option("--link", required=True, metavar="URL", help="The group's own page about it.")
@click.option("--contact", required=True, metavar="MAIL")
@click.option("--logo", metavar="FILE", help="A PNG of at most 64 KiB.")
@click.option("--open-figures", is_flag=True, help="Let everyone read its figures, not only the group.")
@one_line
def campaigns_add(
    slug: str,
    *,
    names: tuple[str, ...],
    countries: tuple[str, ...],
    link: str,
    contact: str,
    logo: str | None,
    open_figures: bool,
) -> None:
    """Create a campaign that people may join with their objection.

    Print its API key, once: it cannot be shown again. A slug is for ever.

    \b
    objection campaigns add fair-ai --name en="Fair AI" --name de="Faire KI" --country DE --country AT \\
      --link https://group.example/fair-ai --contact press@group.example
    """
    from server.usecases.campaigns import add_campaign, create_key

    description = {"names": _pairs(names), "countries": list(countries), "link": link, "contact": contact}
    picture = None if logo is None else read_file(Path(logo))
    storage = open_stored_register()
    now = int(time.time())
    campaign = add_campaign(storage, slug, description, logo=picture, open_figures=open_figures, now=now)
    click.echo(f"campaign  {campaign.slug}  {printable(campaign.name('en'))}")
    click.echo(f"page      {read_settings().public_url}/counts/campaigns/{campaign.slug}")
    _show_key(create_key(storage, slug, name="first", now=now))


@campaigns.command("list")
@one_line
def campaigns_list() -> None:
    """List the campaigns."""
    from server.usecases.campaigns import read_all_campaigns

    with open_stored_register().database.reading() as connection:
        found = read_all_campaigns(connection)
    for campaign in found:
        state = "running" if campaign.until is None else f"ended {_day(campaign.until)}"
        figures = "open figures" if campaign.open_figures else "figures by key"
        countries = " ".join(campaign.countries)
        click.echo(f"{campaign.slug:<40} {printable(campaign.name('en'))}  {countries}  {figures}  {state}")


@campaigns.command("end")
@click.argument("slug")
@one_line
def campaigns_end(slug: str) -> None:
    """Let nobody join any more. This week is the last that its table gets; what was released stays."""
    from server.usecases.campaigns import end_campaign

    end_campaign(open_stored_register(), slug, now=int(time.time()))
    click.echo(f"{slug} has ended")


@campaigns.command("keys")
@click.argument("slug")
@one_line
def campaigns_keys(slug: str) -> None:
    """List the API keys of a campaign, by fingerprint."""
    from server.store.campaigns import read_api_keys
    from server.usecases.campaigns import find_campaign, fingerprint_of

    with open_stored_register().database.reading() as connection:
        find_campaign(connection, slug)
        found = read_api_keys(connection, slug)
    for key in found:
        state = "works" if key.revoked_at is None else f"revoked {_day(key.revoked_at)}"
        click.echo(f"{fingerprint_of(key)}  since {_day(key.created_at)}  {state}  {printable(key.name)}")


@campaigns.command("add-key")
@click.argument("slug")
@click.option("--name", required=True, help="For whom, or for what.")
@one_line
def campaigns_add_key(slug: str, *, name: str) -> None:
    """Make another API key for a campaign. It is shown once."""
    from server.usecases.campaigns import create_key

    _show_key(create_key(open_stored_register(), slug, name=name, now=int(time.time())))


@campaigns.command("revoke-key")
@click.argument("slug")
@click.argument("fingerprint")
@one_line
def campaigns_revoke_key(slug: str, fingerprint: str) -> None:
    """Refuse an API key from now on."""
    from server.usecases.campaigns import revoke_key

    revoke_key(open_stored_register(), fingerprint, slug=slug, now=int(time.time()))
    click.echo(f"{fingerprint} is refused from now on")


@click.group()
def releases() -> None:
    """Look after what is published: budgets, bursts, releases."""


@releases.command("budget")
@one_line
def releases_budget() -> None:
    """Print what each table costs a person in privacy, and all of them together."""
    from server.core.counts import declaration, half_width, times_likelier

    declared = declaration()
    for table in declared.tables.values():
        each = f"{table.epoch} × {' × '.join(table.dimensions) or 'all'}"
        width = half_width(table.epsilon)
        click.echo(f"{table.name:<10} {each:<28} {len(table.cells()):>3} cells  epsilon {table.epsilon!s:<4} ±{width}")
    total = declared.lifetime_epsilon
    most = f"no result gets more than {times_likelier(total)} times likelier"
    click.echo(f"one person, all tables, for life: epsilon {total}: {most}")
    joined = total + declared.campaign_epsilon
    click.echo(f"who joins a campaign: epsilon {joined}: no more than {times_likelier(joined)} times")
    click.echo(f"declaration {declared.sha256}")


@releases.command("preview")
@one_line
def releases_preview() -> None:
    """Show what comes next and how it will look: noise alone, drawn over zeros. True counts are not even read."""
    from server.core.counts import declaration
    from server.outside.noise import add_noise
    from server.usecases.epochs import epoch_at
    from server.usecases.release_counts import find_due

    now = int(time.time())
    with open_stored_register().database.reading() as connection:
        due = find_due(connection, now=now)
    for each in due:
        click.echo(f"due now   {each.table.name}-{each.epoch.name}: the worker draws it within a minute")
    click.echo("The figures below are made up: noise over zeros.")
    for table in declaration().tables.values():
        epoch = epoch_at(table.epoch, now)
        click.echo(f"{table.name}-{epoch.name}  to be released on {_day(epoch.end + declaration().grace_s)}")
        cells = table.cells()
        for cell, value in zip(cells, add_noise([0] * len(cells), table.epsilon), strict=True):
            click.echo(f"  {' '.join(cell) or 'all':<28} {value:>4}")


@releases.command("quarantine")
@one_line
def releases_quarantine() -> None:
    """List bursts: hours in which more registered than are counted unseen. Not for publication: these are true counts.

    Everybody's tables and each campaign's have a line of their own, as long as one of them is not released. "usual" is
    the mean of the same country, platform and channel over its other hours with any registration.
    """
    from server.usecases.quarantine import find_bursts

    with open_stored_register().database.reading() as connection:
        bursts = find_bursts(connection)
    for each in bursts:
        burst, bucket = each.burst, each.burst.bucket
        place = f"{bucket.country} {bucket.platform} {bucket.channel}"
        numbers = f"{burst.registrations} registrations, counted up to {burst.cap}, usual {burst.usual}"
        tables = ", ".join(each.tables)
        state = f"held back from {tables}"
        if burst.admitted is not None:
            state = f"admitted to {tables}: {printable(burst.admitted)}"
        click.echo(f"{_hour(bucket.hour)}  {place:<34} {numbers}  {state}")
    if not bursts:
        click.echo("nothing is held back")


@releases.command("admit")
@click.argument("hour", metavar="YYYY-MM-DDTHH", type=click.DateTime(["%Y-%m-%dT%H"]))
@click.argument("country")
@click.argument("platform")
@click.argument("channel")
@click.option("--reason", required=True, help="Why these registrations are genuine; it is kept.")
@one_line
def releases_admit(*, hour: datetime, country: str, platform: str, channel: str, reason: str) -> None:
    """Have all registrations of a burst counted, in what is still to be released, once its hour is over."""
    from server.store.tallies import Bucket
    from server.usecases.quarantine import admit_burst

    bucket = Bucket(int(hour.replace(tzinfo=UTC).timestamp()), country, platform, channel)
    admitted = admit_burst(open_stored_register(), bucket, reason=reason, now=int(time.time()))
    for each in admitted:
        count = f"{each.registrations} registrations of {country} {platform} {channel} count"
        click.echo(f"{count} in {', '.join(each.tables)}")


@releases.command("verify")
@click.argument("file")
@click.option(
    "--policy", "policy_file", metavar="FILE", help="Trust the keys in this policy; else this register's own."
)
@one_line
def releases_verify(file: str, *, policy_file: str | None) -> None:
    """Verify a signed release, offline. Exit status 1 when it does not hold.

    FILE is what /v1/releases/ID?format=jws gives.
    """
    from server.core.counts import declaration
    from server.core.releases import verify_release

    policy = read_policy(policy_file) if policy_file else open_stored_register().keyring.policy
    try:
        release = verify_release(_read_text(file), policy)
    except ObjectionError as error:
        if error.code == "file_unreadable":
            raise
        click.echo(printable(f"✗ {error.code}: {error}"), err=True)
        sys.exit(INVALID)
    claims = release.claims
    click.echo(f"✓ {release.id}, drawn {_hour(claims['iat'])}, signed by {claims['iss']}")
    click.echo(
        f"  {len(release.cells)} cells, epsilon {claims['epsilon']}: the noise is within ±{claims['ci95']} in 95 of 100"
    )
    same = claims["declaration_sha256"] == declaration().sha256
    click.echo(f"  made by {'this' if same else 'another'} declaration of tables and budgets")


@releases.command("import")
@click.argument("file")
@one_line
def releases_import(file: str) -> None:
    """Take in a release that this register published and lost with its backup, so that it is not drawn again."""
    from server.usecases.release_counts import import_release

    release = import_release(open_stored_register(), _read_text(file))
    click.echo(f"{release.id} is known")


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(pairs) != len(texts):
        raise click.UsageError("--name is LANGUAGE=NAME, each language once")
    return pairs


def _show_key(key: str) -> None:
    click.echo(f"API key   {key}")
    click.echo("          Keep it now: only its hash is stored, and nobody can show it again.")


def _read_text(file: str) -> str:
    try:
        return read_file(Path(file)).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise ObjectionError("file_unreadable", "not a signed release: those are ASCII") from error


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _hour(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(moment))
