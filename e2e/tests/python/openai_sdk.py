"""The official openai SDK: whole, streamed, a tool loop, models. Prints one JSON object."""
import json
import sys

import openai

gateway, key, model = sys.argv[1:4]
client = openai.OpenAI(base_url=f"{gateway}/openai/v1", api_key=key, max_retries=0, timeout=30)
hello = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
out = {}

whole = client.chat.completions.create(model=model, messages=hello)
out["whole"] = {"text": whole.choices[0].message.content, "stop": whole.choices[0].finish_reason, "total": whole.usage.total_tokens}


def collect(stream):
    """Puts a stream's chunks together as clients do."""
    text, calls, stop, usage = "", {}, None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            stop = choice.finish_reason or stop
            for part in choice.delta.tool_calls or []:
                call = calls.setdefault(part.index, {"id": None, "name": "", "arguments": ""})
                call["id"] = part.id or call["id"]
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
    return text, [calls[i] for i in sorted(calls)], stop, usage


stream = client.chat.completions.create(model=model, messages=hello, stream=True, stream_options={"include_usage": True})
text, _, stop, usage = collect(stream)
out["streamed"] = {"text": text, "stop": stop, "total": usage.total_tokens}
text, _, stop, usage = collect(client.chat.completions.create(model=model, messages=hello, stream=True))
out["streamed_without_usage"] = {"text": text, "stop": stop, "usage": usage is not None}

tools = [{"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
messages = [{"role": "user", "content": 'look [[tool:weather {"city": "Berlin"}]][[tool:weather {"city": "Oslo"}]]'}]
for streamed in (False, True):
    if streamed:
        _, calls, stop, _ = collect(client.chat.completions.create(model=model, messages=messages, tools=tools, stream=True))
    else:
        asked = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="auto")
        stop = asked.choices[0].finish_reason
        calls = [{"id": c.id, "name": c.function.name, "arguments": c.function.arguments} for c in asked.choices[0].message.tool_calls]
    turn = messages + [{"role": "assistant", "content": None, "tool_calls": [{"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}} for c in calls]}]
    turn += [{"role": "tool", "tool_call_id": c["id"], "content": f"weather of {c['arguments']}"} for c in calls]
    answer = client.chat.completions.create(model=model, messages=turn, tools=tools)
    out["tools_streamed" if streamed else "tools"] = {
        "stop": stop, "calls": [[c["name"], json.loads(c["arguments"])] for c in calls], "answer": answer.choices[0].message.content,
    }

out["models"] = [m.id for m in client.models.list()]
try:
    client.chat.completions.create(model="openai/not-allowed", messages=hello)
except openai.APIStatusError as error:
    out["refused"] = {"status": error.status_code, "message": error.body["message"]}
print(json.dumps(out))
