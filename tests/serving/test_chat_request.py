"""Every field of a chat request is honoured, or the request is refused with the field's name."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.serving.chat_request import KNOWN, MAX_TOKENS, NEUTRAL, Names, read_body, read_question
from vlm2vla_sim.serving.refusal import RefusalError

NAMES = Names("base", "lora", places_images=True)
PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def url_of(image, kind="PNG", media="image/png", **options) -> str:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return f"data:{media};base64," + base64.b64encode(file.getvalue()).decode()


def request(content="hello", **fields) -> dict:
    return {"model": "base", "messages": [{"role": "user", "content": content}], **fields}


def read(names=NAMES, **fields) -> Question:
    return read_question(read_body(json.dumps(request(**fields)).encode()), names)


def refusal(**fields) -> RefusalError:
    with pytest.raises(RefusalError) as error:
        read(**fields)
    return error.value


def image_part(url, **more) -> dict:
    return {"type": "image_url", "image_url": {"url": url, **more}}


TEXT = {"type": "text", "text": "What is it?"}


# Fields.


def test_what_is_honoured_arrives_in_the_question():
    asked = read(
        model="lora", max_tokens=33, temperature=0.5, top_p=0.9, seed=11, user="me", guided_regex="a|b", stop=None
    )
    assert (asked.prompt, asked.sampling, asked.seed, asked.adapter) == ("hello", Sampling(0.5, 0.9, 33), 11, True)
    assert asked.grammar == Grammar("a|b", "start: /(a|b)/")
    assert read().sampling == Sampling(0.0, 1.0, 256)
    assert not read().adapter


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frobnicate", 1),
        ("guided_json", {}),
        ("best_of", 1),
        ("min_tokens", 3),
        ("ignore_eos", True),
        ("chat_template", "{{ messages }}"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}),
        ("stop", "\n"),
        ("stop", ["."]),
        ("logprobs", True),
        ("top_logprobs", 5),
        ("logit_bias", {"50256": -100}),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -0.5),
        ("repetition_penalty", 1.1),
        ("top_k", 50),
        ("min_p", 0.05),
        ("n", 2),
        ("n", True),
        ("stream", True),
        ("stream", 0),
        ("stream_options", {"include_usage": True}),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("user", 7),
        ("store", True),
    ],
)
def test_what_is_not_honoured_is_refused_with_its_name(field, value):
    refused = refusal(**{field: value})
    assert (refused.status, refused.field) == (400, field)
    assert str(refused).startswith(f"{field}: ")


@pytest.mark.parametrize(("field", "value"), [(field, one) for field, values in NEUTRAL.items() for one in values])
def test_a_value_that_asks_for_nothing_is_accepted(field, value):
    assert read(**{field: value}).prompt == "hello"


def test_null_is_not_given():
    fields = KNOWN - {"model", "messages"}
    assert read(**dict.fromkeys(fields)).sampling == Sampling(0.0, 1.0, 256)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [0, -1, MAX_TOKENS + 1, 10**400, True, "12", 12.0, 12.5, [], {}])
def test_a_token_limit_that_cannot_be_kept_is_refused(field, value):
    refused = refusal(**{field: value})
    assert (refused.status, refused.field) == (400, field)
    assert "whole number from 1 to 8192" in str(refused)


def test_two_token_limits_are_one_or_refused():
    assert read(max_tokens=5, max_completion_tokens=5).sampling.max_tokens == 5
    assert read(max_completion_tokens=7).sampling.max_tokens == 7
    assert refusal(max_tokens=5, max_completion_tokens=6).field == "max_completion_tokens"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", True),
        ("temperature", "0"),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_p", [1]),
        ("seed", 2**63),
        ("seed", 1.5),
        ("seed", False),
    ],
)
def test_a_number_outside_its_range_is_refused_with_its_name(field, value):
    assert refusal(**{field: value}).field == field


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"model": "base", "temperature": 1e999}', "1e999, which is too large"),
        ('{"model": "base", "temperature": NaN}', "NaN, which is no number"),
        ('{"model": "base", "temperature": -Infinity}', "-Infinity, which is no number"),
        ('{"model": "base", "temperature": 0, "temperature": 1}', "temperature: The key is given twice"),
        ('{"model": "base", "messages": [{"role": "user", "role": "system"}]}', "role: The key is given twice"),
        ('{"model": ' + "1" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ('{"model": "base"', "not JSON"),
        ("\xff", "not JSON"),
    ],
)
def test_json_that_is_ambiguous_or_broken_is_refused(body, said):
    with pytest.raises(RefusalError, match=said) as error:
        read_body(body.encode("latin-1"))
    assert error.value.status == 400


# Grammars.


@pytest.mark.parametrize(
    ("field", "value", "regex"),
    [
        ("structured_outputs", {"regex": "[0-9]{2}", "json": None}, "[0-9]{2}"),
        ("structured_outputs", {"choice": ["a.b", "c|d"]}, r"a\.b|c\|d"),
        ("guided_regex", "[0-9]{2}", "[0-9]{2}"),
        ("guided_choice", ["yes", "no"], "yes|no"),
        ("guided_grammar", 'start: "a"', ""),
        ("structured_outputs", {"grammar": 'start: "a"'}, ""),
    ],
)
def test_a_grammar_is_read_under_each_of_its_names(field, value, regex):
    grammar = read(**{field: value}, response_format={"type": "text"}).grammar
    assert grammar is not None
    assert (grammar.regex, grammar.lark == 'start: "a"') == (regex, not regex)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("structured_outputs", {}),
        ("structured_outputs", {"regex": "a", "choice": ["a"]}),
        ("structured_outputs", {"json": {}}),
        ("structured_outputs", "a"),
        ("structured_outputs", {"regex": "("}),
        ("structured_outputs", {"regex": ""}),
        ("structured_outputs", {"regex": ["a"]}),
        ("guided_regex", "a{2,1}"),
        ("guided_regex", "[a-c--b]z"),
        ("guided_regex", "[a&&b]"),
        ("structured_outputs", {"regex": "[[:digit:]]"}),
        ("guided_regex", 7),
        ("guided_choice", []),
        ("guided_choice", ["a", 1]),
        ("guided_choice", "yes"),
        ("guided_grammar", ""),
    ],
)
def test_a_grammar_that_cannot_be_read_is_refused(field, value):
    refused = refusal(**{field: value})
    assert refused.status == 400
    assert refused.field.split(".")[0] == field


def test_two_grammars_are_refused():
    assert refusal(guided_regex="a", structured_outputs={"regex": "a"}).field == "guided_regex"


@pytest.mark.parametrize("regex", ["a/b", r"a\/b", "a\nb", r"\\/", 'say "x"'])
def test_a_slash_or_a_line_break_in_a_regular_expression_means_what_it_means(regex):
    llguidance = pytest.importorskip("llguidance", reason="the decoder is optional: pip install llguidance")
    grammar = read(guided_regex=regex).grammar
    text = {"a/b": "a/b", r"a\/b": "a/b", "a\nb": "a\nb", r"\\/": "\\/"}.get(regex, regex)
    assert re.fullmatch(regex, text)
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), llguidance.LLMatcher.grammar_from_lark(grammar.lark))
    assert not matcher.is_error(), matcher.get_error()
    assert matcher.try_consume_tokens(list(text.encode())) == len(text)
    assert matcher.is_accepting()


@pytest.mark.parametrize("regex", ["[a-c|]z", r"[-a&\[\]-]", r"\[a--b", "[^]-]"])
def test_a_class_of_characters_without_sets_is_read(regex):
    assert read(guided_regex=regex).grammar is not None


def test_texts_beyond_a_limit_are_refused():
    assert refusal(content="x" * 200_001).status == 413
    assert refusal(guided_regex="a|" * 30_000 + "a").status == 413
    assert refusal(guided_choice=["yes"] * 50_001).status == 413
    assert read(content="x" * 200_000).prompt


# Messages.


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hello", "messages"),
        (["hello"], "messages[0]"),
        ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}], "messages[0].role"),
        ([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}], "messages[1].role"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "messages"),
        ([{"role": "developer", "content": "hi"}], "messages[0].role"),
        ([{"content": "hi"}], "messages[0].role"),
        ([{"role": "user", "content": "hi", "name": "me"}], "messages[0].name"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [TEXT, {"type": "text", "text": 7}]}], "messages[0].content[1].text"),
        ([{"role": "user", "content": [{**TEXT, "cache_control": {}}]}], "messages[0].content[0].cache_control"),
        ([{"role": "user", "content": "half \ud800"}], "messages[0].content[0].text"),
    ],
)
def test_a_message_that_is_not_one_of_a_user_is_refused_where_it_is_not(messages, field):
    refused = refusal(messages=messages)
    assert (refused.status, refused.field) == (400, field)


def test_a_system_message_is_refused_with_its_role():
    assert 'the role "system"' in str(refusal(messages=[{"role": "system", "content": "Be brief."}]))


def test_images_and_texts_keep_their_order():
    picture = image_part(url_of(PICTURE))
    first = read(content=[picture, picture, TEXT])
    assert (len(first.images), first.prompt, first.places) == (2, "What is it?", ())
    behind = read(content=[TEXT, picture])
    assert (behind.prompt, behind.places) == ("What is it?", (11,))
    mixed = read(content=[picture, {"type": "text", "text": "and"}, picture, {"type": "text", "text": "?"}])
    assert (mixed.prompt, mixed.places) == ("and?", (0, 3))
    assert [part if isinstance(part, str) else "image" for part in mixed.parts()] == ["image", "and", "image", "?"]
    assert read(content=[TEXT, TEXT]).prompt == "What is it?\nWhat is it?"


def test_a_model_that_takes_images_first_refuses_another_order():
    with pytest.raises(RefusalError, match="takes images before the text"):
        read(Names("base"), content=[TEXT, image_part(url_of(PICTURE))])


# Images.


@pytest.mark.parametrize(
    "media", ["image/png", "image/jpg", "image/jpeg", "IMAGE/PNG", "image/png;charset=utf-8", "image/webp"]
)
def test_media_types_are_read_in_every_spelling(media):
    (image,) = read(content=[image_part(url_of(PICTURE, media=media), detail="auto"), TEXT]).images
    assert np.array_equal(image, PICTURE)


def test_jpeg_and_webp_are_read():
    flat = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    for kind, media in (("JPEG", "image/jpeg"), ("WEBP", "image/webp")):
        (image,) = read(content=[image_part(url_of(flat, kind, media))]).images
        assert np.abs(image.astype(int) - flat).max() < 12


def test_an_image_is_what_its_sender_sees():
    turned = Image.fromarray(PICTURE)
    exif = turned.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    (image,) = read(content=[image_part(url_of(turned, exif=exif))]).images
    assert np.array_equal(image, np.rot90(PICTURE, -1))

    glass = np.zeros((1, 3, 4), np.uint8)
    glass[0, :, 0] = 200
    glass[0, :, 3] = (255, 0, 128)  # opaque, invisible, half
    (image,) = read(content=[image_part(url_of(glass))]).images
    assert image[0].tolist() == [[200, 0, 0], [255, 255, 255], [227, 127, 127]]

    grey = np.array([[0, 90, 255]], np.uint8)
    (image,) = read(content=[image_part(url_of(grey))]).images
    assert image[0].tolist() == [[0] * 3, [90] * 3, [255] * 3]


def broken_images():
    whole = url_of(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    yield "truncated", whole[: len(whole) // 2 // 4 * 4], 400, "cannot be read"
    yield "no base64", "data:image/png;base64,####", 400, "cannot be read"
    yield "no image", "data:image/png;base64,AAAA", 400, "cannot be read"
    yield "empty", "data:image/png;base64,", 400, "cannot be read"
    yield "gif", url_of(PICTURE, "GIF", "image/gif"), 400, "PNG, JPEG or WebP"
    yield "a gif in disguise", url_of(PICTURE, "GIF"), 400, "cannot be read"
    yield "from elsewhere", "http://example.org/x.png", 400, "nothing is fetched"
    yield "not base64", "data:image/png,abc", 400, "nothing is fetched"
    yield "16 bits", url_of(np.full((2, 2), 40000, np.uint16)), 400, "8 bits a channel"
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    yield "animated", url_of(frames[0], save_all=True, append_images=frames[1:]), 400, "animation"
    yield "large", url_of(Image.new("1", (5000, 4000))), 413, "at most 4,194,304"
    scans = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(scans, "JPEG", progressive=True)
    one_scan = scans.getvalue()[scans.getvalue().rindex(b"\xff\xda") : -2]
    many = scans.getvalue()[:-2] + one_scan * 200 + b"\xff\xd9"
    yield "very many scans", "data:image/jpeg;base64," + base64.b64encode(many).decode(), 400, "more than 100 scans"
    yield "a bomb", url_of(Image.new("1", (30_000, 30_000))), 413, "too large"


@pytest.mark.parametrize(("url", "status", "said"), [pytest.param(*rest, id=name) for name, *rest in broken_images()])
def test_an_image_that_cannot_be_shown_faithfully_is_refused(url, status, said):
    refused = refusal(content=[TEXT, image_part(url)])
    assert (refused.status, refused.field) == (status, "messages[0].content[1].image_url")
    assert said in str(refused)


def test_an_image_with_another_request_than_its_url_is_refused():
    assert refusal(content=[image_part(url_of(PICTURE), detail="low")]).field.endswith("image_url.detail")
    assert "'size'" in str(refusal(content=[image_part(url_of(PICTURE), size=3)]))
    assert "object with a url" in str(refusal(content=[image_part(7)]))
    half = image_part(url_of(Image.new("1", (1600, 1400))))
    too_many = refusal(content=[half, half])
    assert (too_many.status, too_many.field) == (413, "messages[0].content[1].image_url")
    assert "4,480,000 pixels" in str(too_many)
    assert len(read(content=[half]).images) == 1
    assert "17 images" in str(refusal(content=[image_part(url_of(PICTURE))] * 17))
