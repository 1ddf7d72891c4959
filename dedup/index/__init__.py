"""An index that remembers: durable, incremental, forgetful on request."""
