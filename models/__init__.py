"""The model families (torch). Nothing here knows a host library or an adapter."""
