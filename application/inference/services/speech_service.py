"""A transcriber as a BentoML service."""

import bentoml

from infrastructure.serving.bento_service import errors_for_bentoml
from infrastructure.serving.speech_service import SpeechService

with errors_for_bentoml():
    _service = SpeechService("speech_transcriber:latest")
SpeechTranscriber = bentoml.service(**_service.bento_options())(_service.bento_class())
_service.wrap(SpeechTranscriber)
