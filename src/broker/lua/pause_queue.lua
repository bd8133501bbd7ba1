-- pause_queue: stop a queue from being claimed, and note who did it.
-- KEYS[1] string paused   KEYS[2] hash pause note
-- ARGV[1] int now, Unix s   ARGV[2] string source   ARGV[3] string reason   ARGV[4] string actor
-- ARGV[5] int until, Unix s, or ''
-- Returns: 1 (paused now, or our own note renewed) or 0 (already paused by another program)
-- The note goes first: it counts only for the pause it describes, and without one nobody would lift the pause.
local since = redis.call('GET', KEYS[1])
if since and redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'format', 1, 'since', since or ARGV[1], 'source', ARGV[2],
  'reason', ARGV[3], 'actor', ARGV[4], 'until', ARGV[5])
if not since then redis.call('SET', KEYS[1], ARGV[1]) end
return 1
