"""Names of attributes. Those that OpenTelemetry's conventions have (semantic-conventions-genai, 2026) are theirs."""

# Of spans and metrics.
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
TOKEN_TYPE = "gen_ai.token.type"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"

# Of spans.
CONVERSATION = "gen_ai.conversation.id"
OUTPUT_TYPE = "gen_ai.output.type"
STREAM = "gen_ai.request.stream"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
# By kind and direction, such as gen_ai.usage.audio.input_tokens.
TOKENS_OF = "gen_ai.usage.{kind}.{direction}_tokens"
CALL_ID = "gen_ai.tool.call.id"

# Of spans, if content is captured.
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
CALL_ARGUMENTS = "gen_ai.tool.call.arguments"
CALL_RESULT = "gen_ai.tool.call.result"

# Ours, of spans.
CONNECTION = "antiphon.connection.id"
REASON = "antiphon.connection.end_reason"
PLANNED = "antiphon.connection.end_planned"
ITEMS_RESTORED = "antiphon.reconnect.items_restored"
ITEMS_DEGRADED = "antiphon.reconnect.items_degraded"
ITEMS_LOST = "antiphon.reconnect.items_lost"
AUDIO_DROPPED_MS = "antiphon.audio.dropped_ms"
USER_INITIATED = "antiphon.response.user_initiated"
USER_ITEM = "antiphon.turn.item_id"
TRIGGER = "antiphon.barge_in.trigger"
HEARD_MS = "antiphon.barge_in.heard_ms"
ACTOR = "antiphon.actor"
RECOVERABLE = "antiphon.error.recoverable"

CHAT, EXECUTE_TOOL = "chat", "execute_tool"
