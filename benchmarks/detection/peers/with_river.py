"""river's drift detectors with their defaults, one value at a time; after an alarm they start anew by themselves."""

import river
from protocol import Stage
from river import drift
from river.drift import binary


def on_its_own(make):
    """Feed a detector on; it resets itself."""

    def alarms_of(stream):
        detector, alarms = make(), []
        for place, value in enumerate(stream.tolist()):
            detector.update(value)
            if detector.drift_detected:
                alarms.append(place)
        return alarms

    return alarms_of


stage = Stage("river", river.__version__)
stage.items("ADWIN", "values", on_its_own(drift.ADWIN))
stage.items("PageHinkley", "values", on_its_own(drift.PageHinkley))
stage.items("DDM", "errors", on_its_own(binary.DDM))
stage.items("EDDM", "errors", on_its_own(binary.EDDM))
stage.items("HDDM_A", "errors", on_its_own(binary.HDDMA))
stage.items("HDDM_W", "errors", on_its_own(binary.HDDMW))
stage.write()
