"""Parts of `real_chat_servers.py`: tiny models, how servers are started, what they are asked."""
