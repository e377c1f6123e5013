-- What a client of REST is told that Envoy's transcoder does not tell: fields that do not exist, media types and verbs
-- that are not taken, and statuses and headers that gRPC has no word for. Calls of gRPC pass through untouched.
--
-- MESSAGES is made from the contract: of each message that a body may hold, its fields by both of their names. The
-- value of a field is true where anything goes (scalars, google.protobuf.Struct), else the message in it, with "{}"
-- before it for a map of such.

local MESSAGES = @MESSAGES@

local ANY = true
local MOST_COMPLAINTS = 10
local QUOTE, BACKSLASH, OPENED, CLOSED, BRACKET, BRACKET_END, COMMA, COLON = 34, 92, 123, 125, 91, 93, 44, 58

local function after_space(text, at)
  return string.find(text, "[^ \t\r\n]", at)
end

-- The position behind the string that begins here; nil if it does not end.
local function after_string(text, at)
  local stop = at
  while true do
    stop = string.find(text, '["\\]', stop + 1)
    if stop == nil then return nil end
    if string.byte(text, stop) == QUOTE then return stop + 1 end
    stop = stop + 1
  end
end

-- The position behind a value of any form; nil if it does not end. Takes no stack, however deep the value is.
local function after_value(text, at)
  local depth = 0
  while true do
    local mark = string.find(text, depth == 0 and "[^%w%.%+%-]" or '["{}%[%]]', at)
    if mark == nil then return depth == 0 and #text + 1 or nil end
    local sign = string.byte(text, mark)
    if sign == QUOTE then
      at = after_string(text, mark)
      if at == nil then return nil end
      if depth == 0 then return at end
    elseif sign == OPENED or sign == BRACKET then
      depth = depth + 1
      at = mark + 1
    elseif depth == 0 then
      return mark
    else
      depth = depth - 1
      at = mark + 1
      if depth == 0 then return at end
    end
  end
end

local value_of

-- Looks through the members of an object: of a message, or of a map, where any name goes.
local function object_of(text, at, fields, every, path, complaints)
  at = after_space(text, at + 1)
  while at and string.byte(text, at) == QUOTE do
    local behind = after_string(text, at)
    if behind == nil then return nil end
    local name = string.sub(text, at + 1, behind - 2)
    local place = path == "" and name or path .. "." .. name
    local kind = every or fields[name]
    if kind == nil then
      kind = ANY
      if #complaints < MOST_COMPLAINTS then table.insert(complaints, string.sub(place, 1, 200)) end
    end
    at = after_space(text, behind)
    if at == nil or string.byte(text, at) ~= COLON then return nil end
    at = value_of(text, after_space(text, at + 1), kind, place, complaints)
    at = at and after_space(text, at)
    if at and string.byte(text, at) == COMMA then at = after_space(text, at + 1) end
  end
  return at and string.byte(text, at) == CLOSED and at + 1 or nil
end

-- Looks through a value and returns the position behind it; nil where it is no JSON, which the transcoder says better.
value_of = function(text, at, kind, path, complaints)
  if at == nil then return nil end
  local sign = string.byte(text, at)
  if kind == ANY or (sign ~= OPENED and sign ~= BRACKET) then return after_value(text, at) end
  if sign == OPENED then
    if string.sub(kind, 1, 2) == "{}" then return object_of(text, at, nil, string.sub(kind, 3), path, complaints) end
    return object_of(text, at, MESSAGES[kind], nil, path, complaints)
  end
  at = after_space(text, at + 1)
  local index = 0
  while at and string.byte(text, at) ~= BRACKET_END do
    at = value_of(text, at, kind, path .. "[" .. index .. "]", complaints)
    at = at and after_space(text, at)
    if at and string.byte(text, at) == COMMA then at = after_space(text, at + 1) end
    index = index + 1
  end
  return at and at + 1
end

local function unknown_fields(text, kind)
  local complaints = {}
  value_of(text, after_space(text, 1), kind, "", complaints)
  return complaints
end

local function takes(content_type)
  return content_type == nil or string.find(string.lower(content_type), "^application/[%w%.%-]*%+?json") ~= nil
end

local function verbs_of(verbs)
  local names = {}
  for verb in pairs(verbs) do table.insert(names, verb) end
  table.sort(names)
  return table.concat(names, ", ")
end

function envoy_on_request(handle)
  local verbs = handle:metadata():get("verbs")
  if verbs == nil then return end
  local headers = handle:headers()
  local kind = verbs[headers:get(":method")]
  if kind == nil then
    local allowed = verbs_of(verbs)
    handle:respond({[":status"] = "405", allow = allowed}, "This path takes " .. allowed .. ".")
    return
  end
  if kind == "" then return end
  -- Waiting for the body ends the life of what was asked of the handle before.
  local content_type = headers:get("content-type")
  -- What comes here whole keeps to the limit of the route: Envoy refuses the rest.
  local body = handle:body()
  if body == nil or body:length() == 0 or kind == "google.api.HttpBody" then return end
  if not takes(content_type) then
    handle:respond({[":status"] = "415"}, "The body must be JSON: send it with content-type: application/json.")
    return
  end
  local complaints = unknown_fields(body:getBytes(0, body:length()), kind)
  if #complaints > 0 then
    handle:respond({[":status"] = "400"}, table.concat(complaints, ", ") .. ": there is no such field.")
  end
end

-- Whole seconds, at least one, of a duration in JSON such as "0.250s".
local function whole_seconds(duration)
  return tostring(math.max(1, math.ceil(tonumber(duration) or 1)))
end

local function tell_of_error(handle, status)
  local body = handle:body()
  local text = body and body:getBytes(0, body:length()) or ""
  local headers = handle:headers()
  if status == "401" then headers:replace("www-authenticate", "Bearer") end
  -- Quotes inside of texts are escaped, so these are names and values of JSON and nothing that somebody has written.
  if status == "429" and string.find(text, '"reason":"INSUFFICIENT_CREDITS"', 1, true) then
    headers:replace(":status", "402")
  end
  -- A sender of webhooks shall neither think that it has sent rubbish nor give the address up.
  if status == "400" and string.find(text, '"reason":"TRIGGER_DISABLED"', 1, true) then
    headers:replace(":status", "409")
  end
  -- gRPC itself refuses so what is larger as a message than a message may be.
  if status == "429" and string.find(text, '"message":"[^"]*eceived message larger than max') then
    headers:replace(":status", "413")
  end
  local delay = string.match(text, '"retryDelay":"([%d%.]+)s"')
  if delay then headers:replace("retry-after", whole_seconds(delay)) end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local content_type = headers:get("content-type") or ""
  if string.find(content_type, "^application/grpc") then return end
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-accept-encoding")
  local status = headers:get(":status")
  if status == "200" then
    local told = handle:metadata()
    if told:get("success") then headers:replace(":status", told:get("success")) end
    if told:get("streams") then headers:replace("content-type", "application/x-ndjson") end
  elseif string.find(status, "^[45]") and string.find(content_type, "^application/json") then
    tell_of_error(handle, status)
  end
end
