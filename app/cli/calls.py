"""Commands that ask a model and teach it."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from app.cli.group import say
from app.cli.options import connect, json_option, model_argument, url_option
from app.cli.output import plain, print_fields, print_json, text
from app.errors import HeadraceError

if TYPE_CHECKING:
    from app.client import Client, Feedback


@click.command()
@model_argument
@click.argument("features", nargs=-1)
@click.option("--id", help="Yours, to send as --prediction with the label.")
@url_option
@json_option
def predict(model: str, features: tuple[str, ...], id: str | None, url: str, as_json: bool) -> None:
    """Ask a model. FEATURES are a JSON object, or name=value pairs, or - for JSON on stdin.

    A value of a pair is read by the type that the model knows for it; of a feature that it does not
    know, as the number, true or false that it looks like, or else as text.

    \b
    Examples:
      headrace predict phishing '{"age": 1, "is_ip": false}'
      headrace predict phishing age=1 is_ip=false --id visit-1
      echo '{"age": 1}' | headrace predict phishing - --json
    """
    pairs = _pairs(features)
    asked = {} if pairs else _object(features[0], "FEATURES")
    with connect(url) as client:
        if pairs:
            asked = _values(pairs, client.model(model).features)
        answer = client.predict(model, asked, id=id)
    if as_json:
        print_json(_without_none(plain(answer)))
        return
    shares = answer.probabilities or {}
    likeliest = sorted(shares.items(), key=lambda share: -share[1])
    print_fields(
        {
            "prediction": answer.prediction,
            **({"score": answer.score} if answer.score is not None else {}),
            **{f"  {label}": share for label, share in likeliest},
            "id": answer.id,
            "offset": answer.offset,
        }
    )
    for warned in answer.warnings or ():
        say(f"{warned.code}: {warned.detail}", "yellow")


@click.command(short_help="Teach a model one label.")
@model_argument
@click.option("--prediction", "prediction_id", help="The id of the prediction this labels.")
@click.option("--features", "given", help="Or the features this labels, as JSON; - for stdin.")
@click.option("--label", help="What was true. Left out only for anomalies.")
@click.option("--id", help="Yours: the same id is learned once.")
@url_option
@json_option
def feedback(model: str, url: str, as_json: bool, **options: str | None) -> None:
    """Teach a model what was true. When it is answered it is on disk, and learned.

    The label is read by the model's task. One of several classes that is a whole number is a
    number; write it as JSON, '"7"', if it is a text.

    \b
    Examples:
      headrace feedback phishing --prediction visit-1 --label true
      headrace feedback phishing --features '{"age": 9}' --label false --id label-2
    """
    of, given = options["prediction_id"], options["given"]
    if (of is None) == (given is None):
        raise click.UsageError("Give --prediction or --features, one of the two.")
    more: dict[str, Any] = {"prediction_id": of, "id": options["id"]}
    if given is not None:
        more["features"] = _object(given, "--features")
    with connect(url) as client:
        if options["label"] is not None:
            more["label"] = _label(options["label"], client.model(model).task)
        answer = client.feedback(model, **more)
        became = "" if as_json else _became(client, model, answer)
    if as_json:
        print_json(_without_none(plain(answer)))
    else:
        click.echo(f"{became}, at offset {text(answer.offset)} of {model}.")
    for warned in answer.warnings or ():
        say(f"{warned.code}: {warned.detail}", "yellow")


def _became(client: "Client", model: str, answer: "Feedback") -> str:
    """What became of a label: the model's rules may keep it without learning it."""
    codes = {warned.code for warned in answer.warnings or ()}
    if "first_kept" in codes:
        return "Not learned: another label came first"
    if answer.duplicate:
        return "Already taken"
    if "unlearnable" in codes or "frozen" in codes:
        return "Kept, and not learned"
    try:
        entry = next(client.log(model, answer.offset - 1), None)
    except HeadraceError:
        entry = None
    if entry is None:
        return "Taken"
    if entry.kind == "correction":
        place = text(entry.fields.get("example_offset"))
        # A correction holds the features if they are learned with its label.
        learned = "learned" if entry.fields.get("features") is not None else "not learned"
        return f"The label at offset {place} is corrected, and the new one {learned}"
    if not entry.fields.get("learned", True):
        return "Scored and recorded, and not learned, because it came late"
    return "Learned"


def _pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Features as names and words; none if they are JSON. Raises `click.UsageError`."""
    if not words:
        raise click.UsageError("Give features: '{\"age\": 1}', or age=1, or - for stdin.")
    if len(words) == 1 and (words[0] == "-" or words[0].lstrip()[:1] in ("{", "[")):
        return []
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise click.UsageError(
                f"{word!r} is no feature: write name=value, such as age=1, "
                "or all of them as one JSON object, '{\"age\": 1}'."
            )
        pairs.append((name, value))
    return pairs


def _values(pairs: list[tuple[str, str]], types: dict[str, str]) -> dict[str, Any]:
    """Pairs as features. Raises `click.UsageError` if one is not of its type."""
    from app.columns import value_of

    features = {}
    for name, value in pairs:
        quoted = value[:1] == '"'
        try:
            features[name] = json.loads(value) if quoted else value_of(value, types.get(name))
        except ValueError as error:
            problem = "is no JSON" if quoted else str(error).removeprefix("it ")
            raise click.UsageError(f"{name}={value} {problem}.") from None
    return features


def _object(given: str, place: str) -> dict[str, Any]:
    given = sys.stdin.read() if given == "-" else given
    try:
        found = json.loads(given)
    except ValueError as error:
        raise click.UsageError(f"{place} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise click.UsageError(f'{place} is to be a JSON object, like {{"age": 1}}.')
    return found


def _label(given: str, task: str) -> Any:
    from app.columns import label_converter

    try:
        if given[:1] == '"':
            return json.loads(given)
        label = label_converter(task, labels_are_integers=True)(given)
    except ValueError as error:
        raise click.UsageError(f"--label: {error}.") from None
    # Text that is no label of the task goes as it is: the service says what the task takes.
    return given if label is None else label


def _without_none(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as the service sent it: without the fields that it leaves out."""
    keep = ("prediction",)
    return {name: value for name, value in answer.items() if value is not None or name in keep}
