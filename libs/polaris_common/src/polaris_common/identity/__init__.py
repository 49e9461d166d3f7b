"""Who is calling: principals, server-side sessions and passwords."""
