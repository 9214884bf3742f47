"""The steps that must be atomic, as scripts that Redis runs. Keys are given with the application's prefix.

A token is ``epoch|node|host|pid|nonce``; what follows the epoch is the identity of one process. Redis' own
clock stamps what candidates say of themselves, so that how far their clocks are off can be told.
"""

# A candidate says that it is there, and takes the lease if it may.
# KEYS: lease, epoch, place, own candidate record, candidates
# ARGV: identity, own host, TTL in ms, record, the record's TTL in ms, whether it is fit (1 or 0), prefix of
# candidate records, highest epoch that it knows
# Returns {taken, epoch, ms left of somebody else's lease or -1, place}
ACQUIRE = """
local now = redis.call('TIME')
local stamp = now[1] .. '.' .. string.format('%06d', now[2])
redis.call('SET', KEYS[4], stamp .. '|' .. ARGV[6] .. '|' .. ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', KEYS[5], now[1], ARGV[2])
local place = redis.call('GET', KEYS[3]) or ''
local lease = redis.call('GET', KEYS[1])
local epoch = tonumber(redis.call('GET', KEYS[2]) or '0')
if lease then
  local held, identity = string.match(lease, '^(%d+)|(.*)$')
  if identity ~= ARGV[1] then
    return {0, epoch, redis.call('PTTL', KEYS[1]), place}
  end
  -- Its own: an attempt whose answer was lost.
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {1, tonumber(held), -1, place}
end
if ARGV[6] ~= '1' then
  return {0, epoch, -1, place}
end
if place ~= '' then
  local wanted = cjson.decode(place)
  if wanted.host ~= ARGV[2] then
    local other = redis.call('GET', ARGV[7] .. wanted.host)
    if wanted.mode == 'pinned' or (other and string.match(other, '^[%d.]+|1|')) then
      return {0, epoch, -1, place}
    end
  end
end
epoch = math.max(epoch, tonumber(ARGV[8])) + 1
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], epoch .. '|' .. ARGV[1], 'PX', ARGV[3])
return {1, epoch, -1, place}
"""

# The holder keeps the lease, unless it should be elsewhere: then it is not kept, whatever the holder thinks.
# KEYS: lease, place, own candidate record, candidates
# ARGV: token, own host, TTL in ms, record, the record's TTL in ms, prefix of candidate records
# Returns 1 kept, 0 lost, 2 to be handed over
RENEW = """
local now = redis.call('TIME')
local stamp = now[1] .. '.' .. string.format('%06d', now[2])
redis.call('SET', KEYS[3], stamp .. '|1|' .. ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', KEYS[4], now[1], ARGV[2])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local place = redis.call('GET', KEYS[2])
if place then
  local wanted = cjson.decode(place)
  if wanted.host ~= ARGV[2] then
    local other = redis.call('GET', ARGV[6] .. wanted.host)
    if wanted.mode == 'pinned' or (other and string.match(other, '^[%d.]+|1|')) then
      return 2
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

# Gives the lease back if this process has it, and wakes the others. It goes by the identity, for an attempt
# to take the lease may have succeeded without an answer.
# KEYS: lease, own candidate record, bell
# ARGV: identity, whether the candidate is gone (1) or stands by (0)
RELEASE = """
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[2])
end
local lease = redis.call('GET', KEYS[1])
if not lease or string.match(lease, '^%d+|(.*)$') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[3], 'free')
return 1
"""

# Enters lines for entries that the ledger does not know, and answers what stands there now.
# KEYS: lease, ledger
# ARGV: token, then entry and line by turns
BASELINES = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end
local out = {}
for i = 2, #ARGV, 2 do
  redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1])
  out[#out + 1] = redis.call('HGET', KEYS[2], ARGV[i])
end
return out
"""

# The fence: the one step by which a task of beat comes into a queue.
# KEYS: lease, ledger, then the lists and channels to push to
# ARGV: token, entry, the line that must stand there, the line that is to stand there, payload, then for each
# key 'lpush' or 'publish', then keys and ms of lists that expire by turns
# Returns 1 pushed, 2 pushed before by this very attempt, -1 the lease is not the token's, -2 another line
PUSH = """
local line = redis.call('HGET', KEYS[2], ARGV[2]) or ''
if line == ARGV[4] then
  return 2
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if line ~= ARGV[3] then
  return -2
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
local pushes = #KEYS - 2
for i = 1, pushes do
  redis.call(ARGV[5 + i], KEYS[2 + i], ARGV[5])
end
for i = 6 + pushes, #ARGV, 2 do
  redis.call('PEXPIRE', ARGV[i], ARGV[i + 1])
end
return 1
"""

# Where beat shall run. KEYS: place, bell. ARGV: the new place or nothing. Returns the old one.
PLACE = """
local before = redis.call('GET', KEYS[1]) or ''
if before ~= ARGV[1] then
  if ARGV[1] == '' then
    redis.call('DEL', KEYS[1])
  else
    redis.call('SET', KEYS[1], ARGV[1])
  end
  redis.call('PUBLISH', KEYS[2], 'place')
end
return before
"""

# A host that has left: its record goes, a lease that it holds ends.
# KEYS: lease, candidate record, candidates, bell. ARGV: host. Returns whether there was anything.
FORGET = """
local known = redis.call('DEL', KEYS[2]) + redis.call('ZREM', KEYS[3], ARGV[1])
local lease = redis.call('GET', KEYS[1])
if lease and string.match(lease, '^%d+|[^|]*|([^|]*)|') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', KEYS[4], 'free')
  known = known + 1
end
return known
"""

# All that there is to see, in one round trip. Nothing is written: a Redis that refuses writes can be asked.
# KEYS: lease, epoch, place, candidates, ledger. ARGV: prefix of candidate records, seconds after which a host
# that has not been seen is no candidate any more
# Returns {seconds, microseconds, lease, ms left, epoch, place, lines, host and record by turns...}
SHOW = """
local now = redis.call('TIME')
local out = {now[1], now[2], redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1]),
  redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or '', redis.call('HLEN', KEYS[5])}
for _, host in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], now[1] - tonumber(ARGV[2]), '+inf')) do
  local record = redis.call('GET', ARGV[1] .. host)
  if record then
    out[#out + 1] = host
    out[#out + 1] = record
  end
end
return out
"""
