"""The sensor that has insights worded."""

import dagster as dg

from analytics_assets.narratives.settings import Narrator
from analytics_assets.narratives.writing import write
from analytics_assets.resources import Database
from analytics_assets.settings import SettingError


@dg.sensor(
    target=dg.AssetSelection.assets("ai_insights"),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has high and critical insights of organisations that agreed worded by the language model of ANALYTICS_NARRATIVE_MODEL, within "
    "the limits of the run and the day; every figure is checked. Off unless ANALYTICS_NARRATIVE_KEY is set. It requests no runs.",
)
def narratives(context: dg.SensorEvaluationContext, database: Database) -> dg.SkipReason:
    """What could not be worded keeps the template's text, and is due again later. Never fails: nothing waits for words."""
    try:
        narrator = Narrator.load()
        if narrator is None:
            return dg.SkipReason("off: ANALYTICS_NARRATIVE_KEY is not set")
        result = write(database, narrator)
    except SettingError as error:
        context.log.warning("insights keep the template's text: %s", error)
        return dg.SkipReason(str(error))
    return dg.SkipReason(str(result))
