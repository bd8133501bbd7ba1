-- note_unserved: note that a worker met a type that it has no handler for. The latest types are kept.
-- KEYS[1] zset unserved   KEYS[2] hash task
-- ARGV[1] string type, or '' to note none   ARGV[2] int now, Unix s   ARGV[3] int how long it counts, s
-- ARGV[4] int types kept at most
-- Returns: how often the task was put off before
if ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[1], string.format('%d', ARGV[2] + ARGV[3]), ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
  redis.call('ZREMRANGEBYRANK', KEYS[1], '0', -1 - ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return tonumber(redis.pcall('HGET', KEYS[2], 'cronmill_snoozes') or '0') or 0
