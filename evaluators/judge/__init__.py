"""A vision-language model as judge: base (the contract), modes (what is asked), parse (what counts as an answer),
local (any model of the hub or of a folder, and the embedded one), openai_chat (any OpenAI-compatible endpoint)."""

JUDGES = {
    "teddy": "evaluators.judge.local:embedded",
    "local": "evaluators.judge.local:LocalModel",
    "openai": "evaluators.judge.openai_chat:OpenAIChat",
    "scripted": "evaluators.judge.scripted:Scripted",
}
"""Name -> where its model is made. "local:FOLDER" or "openai:MODEL" name what comes first in its arguments."""
