"""One call of the language model, through a library that knows its providers. Optional: imported when something is to be asked.

What goes wrong is told as a kind and a status: the texts of providers quote keys and prompts, and go no further than here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from analytics_assets.narratives.settings import Narrator
from analytics_assets.settings import SettingError
from analytics_assets.sources.answers import silence_loggers

if TYPE_CHECKING:
    from pydantic_ai.models import Model
    from pydantic_ai.settings import ModelSettings

#: Of an answer, what a model thinks before it included.
MOST_ANSWERED = 1_500
_MILLION = 1_000_000


class NoAnswer(Exception):
    """The model said nothing of use; the message is a short reason without any text of the provider."""


@dataclass(frozen=True)
class Answer:
    """text, and tokens that the provider counted, (sent, answered); None where it counted none."""

    text: str
    tokens: tuple[int, int] | None


def require_model(narrator: Narrator) -> None:
    """Raises SettingError where the library is not installed, or does not know the model's provider. Asks nobody."""
    try:
        import pydantic_ai  # noqa: F401
    except ImportError:
        raise SettingError(
            "ANALYTICS_NARRATIVE_KEY is set, but the library that asks language models is not installed: "
            "pip install 'analytics-assets[narrative]', or unset the key"
        ) from None
    _model(narrator)


def dollars(narrator: Narrator, sent: int, answered: int) -> Decimal:
    """What so many tokens cost. Raises SettingError where nobody knows the price."""
    if narrator.price is not None:
        return (narrator.price[0] * sent + narrator.price[1] * answered) / _MILLION
    if narrator.url is None:
        import genai_prices

        provider, _, name = narrator.model.partition(":")
        vendor = provider.removesuffix("-chat").removesuffix("-responses")
        try:
            usage = genai_prices.Usage(input_tokens=sent, output_tokens=answered)
            return genai_prices.calc_price(usage, name, provider_id=vendor).total_price
        except LookupError:
            pass
    raise SettingError(
        f"ANALYTICS_NARRATIVE_PRICE: the price of {narrator.model} is not known, and without it no day's limit holds; set US dollars a "
        "million tokens sent and answered, such as 0.25/2, or 0/0 for a server of your own"
    )


def ask(narrator: Narrator, instructions: str, prompt: str, seconds: float) -> Answer:
    """Asks once, without repetition, for so many seconds at most. Raises NoAnswer, SettingError."""
    silence_loggers()
    return asyncio.run(_ask(narrator, instructions, prompt, seconds))


async def _ask(narrator: Narrator, instructions: str, prompt: str, seconds: float) -> Answer:
    from pydantic_ai import ModelRequest
    from pydantic_ai.direct import model_request

    limits = _limits(narrator, seconds)
    made = _model(narrator)
    try:
        async with asyncio.timeout(seconds), made as model:
            response = await model_request(
                model, [ModelRequest.user_text_prompt(prompt, instructions=instructions)], model_settings=limits, instrument=False
            )
    except TimeoutError:
        raise NoAnswer("timeout") from None
    except Exception as error:
        status = getattr(error, "status_code", None)
        raise NoAnswer(f"status {status}" if isinstance(status, int) else _kind(error)) from None
    usage = response.usage
    tokens = (max(usage.input_tokens, 0), max(usage.output_tokens, 0))
    return Answer((response.text or "").strip(), tokens if any(tokens) else None)


def _limits(narrator: Narrator, seconds: float) -> ModelSettings:
    from pydantic_ai.settings import ModelSettings

    if narrator.url is None and narrator.model.startswith("openai"):
        from pydantic_ai.models.openai import OpenAIResponsesModelSettings

        # Else OpenAI keeps what it was sent for a month.
        return OpenAIResponsesModelSettings(max_tokens=MOST_ANSWERED, timeout=seconds, max_retries=0, openai_store=False)
    return ModelSettings(max_tokens=MOST_ANSWERED, timeout=seconds, max_retries=0)


def _kind(error: Exception) -> str:
    return "timeout" if "timeout" in type(error).__name__.lower() else f"no answer ({type(error).__name__})"


def _model(narrator: Narrator) -> Model[Any]:
    try:
        return _server(narrator, narrator.url) if narrator.url is not None else _provider(narrator)
    except (ImportError, ValueError, TypeError, RuntimeError) as error:
        # A provider that the library does not know or that takes no key, or whose own package is not there.
        raise SettingError(
            f"ANALYTICS_NARRATIVE_MODEL={narrator.model}: cannot be asked ({type(error).__name__}); expected provider:model of a provider "
            "that takes a key and whose package is installed (pip install 'pydantic-ai-slim[anthropic]' and the like)"
        ) from None


def _server(narrator: Narrator, url: str) -> Model[Any]:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    return OpenAIChatModel(narrator.model, provider=OpenAICompatibleProvider("narratives", base_url=url, api_key=narrator.key))


def _provider(narrator: Narrator) -> Model[Any]:
    from pydantic_ai.models import infer_model
    from pydantic_ai.providers import infer_provider_class

    def provider(name: str) -> Any:
        made: Any = infer_provider_class(name)
        return made(api_key=narrator.key)

    return infer_model(narrator.model, provider)
