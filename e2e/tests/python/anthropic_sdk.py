"""The official anthropic SDK: whole, streamed, a tool loop, count_tokens, models. Prints one JSON object."""
import json
import sys

import anthropic

gateway, key, model = sys.argv[1:4]
client = anthropic.Anthropic(base_url=f"{gateway}/anthropic", api_key=key, max_retries=0, timeout=30)
hello = [{"role": "user", "content": "hello"}]
out = {}

whole = client.messages.create(model=model, max_tokens=200, messages=hello)
out["whole"] = {"text": whole.content[0].text, "stop": whole.stop_reason, "model": whole.model, "output": whole.usage.output_tokens}

with client.messages.stream(model=model, max_tokens=200, system="be brief", messages=hello) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
out["streamed"] = {"text": text, "final": final.content[0].text, "stop": final.stop_reason, "input": final.usage.input_tokens}

tools = [
    {"name": "weather", "description": "The weather in a city", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    {"name": "mcp__a_rather_long_server_name__and_an_even_longer_tool_name_that_goes_over_the_limit", "description": "Long", "input_schema": {"type": "object", "properties": {}}},
]
ask = 'look [[say:Let me look.]][[tool:weather {"city": "Berlin"}]][[tool:weather {"city": "Oslo"}]]'
messages = [{"role": "user", "content": ask}]
for streamed in (False, True):
    if streamed:
        with client.messages.stream(model=model, max_tokens=500, tools=tools, messages=messages) as stream:
            asked = stream.get_final_message()
    else:
        asked = client.messages.create(model=model, max_tokens=500, tools=tools, messages=messages)
    calls = [b for b in asked.content if b.type == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sun in Berlin"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": [{"type": "text", "text": "rain in Oslo"}], "is_error": True},
    ]
    turn = messages + [{"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    answer = client.messages.create(model=model, max_tokens=500, tools=tools, messages=turn)
    out["tools_streamed" if streamed else "tools"] = {
        "stop": asked.stop_reason, "calls": [[c.name, c.input] for c in calls], "text": asked.content[0].text, "answer": answer.content[0].text,
    }

out["count"] = client.messages.count_tokens(model=model, messages=hello).input_tokens
out["models"] = [m.id for m in client.models.list()]
try:
    client.messages.create(model="anthropic/claude-not-allowed", max_tokens=5, messages=hello)
except anthropic.APIStatusError as error:
    out["refused"] = {"status": error.status_code, "type": error.body["error"]["type"], "message": error.body["error"]["message"]}
print(json.dumps(out))
