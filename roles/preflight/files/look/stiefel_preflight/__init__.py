"""What preflight looks at: one room per question, pure; `read` alone touches the laptop."""
