-- What a client of REST is told that Envoy's transcoder does not tell: fields that do not exist, media types and verbs
-- that are not taken, and statuses and headers that gRPC has no word for. Calls of gRPC pass through untouched.
--
-- MESSAGES is made from the contract: of each message that a body may hold, its fields by both of their names. The
-- value of a field is true where anything goes (scalars, maps, google.protobuf.Struct), else the message in it.
--
-- What is no JSON the transcoder refuses with better words: there the functions below end as if the body did.

local MESSAGES = @MESSAGES@

-- Reasons of errors with a status of their own, from services/common/http_statuses.py.
local STATUSES = @STATUSES@

-- Details by status, as JSON, for errors that come without any: those that the gRPC library of a service has made, such
-- as that of a call whose deadline is over.
local DETAILS = @DETAILS@

local ANY = true
local MOST_COMPLAINTS = 10
local QUOTE, BACKSLASH, OPENED, CLOSED, BRACKET, BRACKET_END, COMMA, COLON = 34, 92, 123, 125, 91, 93, 44, 58

-- Anybody may send a body, of many megabytes. So it is read byte by byte, which LuaJIT compiles (patterns it does not);
-- names of places are made for complaints alone; and functions call each other no deeper than messages hold messages.
local byte, sub = string.byte, string.sub

-- The position of what comes behind white space, and what that is.
local function after_space(text, at)
  local sign = byte(text, at)
  while sign == 32 or sign == 10 or sign == 13 or sign == 9 do
    at = at + 1
    sign = byte(text, at)
  end
  return at, sign
end

-- The position behind the string that begins here.
local function after_string(text, at)
  at = at + 1
  local sign = byte(text, at)
  while sign and sign ~= QUOTE do
    at = at + (sign == BACKSLASH and 2 or 1)
    sign = byte(text, at)
  end
  return at + 1
end

-- The position of the comma or bracket that ends the value of any form which begins here.
local function after_value(text, at)
  local depth = 0
  while true do
    local sign = byte(text, at)
    if sign == nil then return at end
    if sign == QUOTE then
      at = after_string(text, at)
    else
      if sign == OPENED or sign == BRACKET then
        depth = depth + 1
      elseif depth == 0 and (sign == COMMA or sign == CLOSED or sign == BRACKET_END) then
        return at
      elseif sign == CLOSED or sign == BRACKET_END then
        depth = depth - 1
      end
      at = at + 1
    end
  end
end

-- What the parts of a place are called together: nodes[1].inputs.
local function named(place, depth)
  local parts = {}
  for level = 1, depth do
    local part = place[level]
    if type(part) == "number" then
      parts[level] = "[" .. part .. "]"
    else
      parts[level] = (level > 1 and "." or "") .. sub(part, 1, 100)
    end
  end
  return table.concat(parts)
end

local message_of

-- Looks through the messages of a list, and returns the position behind it.
local function list_of(text, at, kind, place, depth, complaints)
  local index = 0
  local sign
  at, sign = after_space(text, at + 1)
  while sign and sign ~= BRACKET_END do
    place[depth] = index
    if sign == BRACKET then
      complaints.nested = named(place, depth)
      return #text + 1
    end
    if sign == OPENED then
      at = message_of(text, at, kind, place, depth + 1, complaints)
    else
      at = after_value(text, at)
    end
    at, sign = after_space(text, at)
    if sign == COMMA then at, sign = after_space(text, at + 1) end
    index = index + 1
  end
  return at + 1
end

-- Looks through the fields of a message, and returns the position behind it.
message_of = function(text, at, kind, place, depth, complaints)
  local fields = MESSAGES[kind]
  local sign
  at, sign = after_space(text, at + 1)
  while sign == QUOTE do
    local behind = after_string(text, at)
    local name = sub(text, at + 1, behind - 2)
    place[depth] = name
    local kind_of_field = fields[name]
    if kind_of_field == nil then
      table.insert(complaints, named(place, depth))
      if #complaints == MOST_COMPLAINTS then return #text + 1 end
      kind_of_field = ANY
    end
    at, sign = after_space(text, behind)
    if sign ~= COLON then return #text + 1 end
    at, sign = after_space(text, at + 1)
    if kind_of_field ~= ANY and sign == OPENED then
      at = message_of(text, at, kind_of_field, place, depth + 1, complaints)
    elseif kind_of_field ~= ANY and sign == BRACKET then
      at = list_of(text, at, kind_of_field, place, depth + 1, complaints)
    else
      at = after_value(text, at)
    end
    at, sign = after_space(text, at)
    if sign == COMMA then at, sign = after_space(text, at + 1) end
  end
  return sign == CLOSED and at + 1 or #text + 1
end

-- What is wrong with the fields of a body, in a sentence; nil if nothing is.
local function wrong_fields(text, kind)
  local complaints = {}
  local at, sign = after_space(text, 1)
  if sign == OPENED then message_of(text, at, kind, {}, 1, complaints) end
  if complaints.nested then return complaints.nested .. ": no list may stand within a list here." end
  if #complaints > 0 then return table.concat(complaints, ", ") .. ": there is no such field." end
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
  local wrong = wrong_fields(body:getBytes(0, body:length()), kind)
  if wrong then handle:respond({[":status"] = "400"}, wrong) end
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
  for reason, own in pairs(STATUSES) do
    if string.find(text, '"reason":"' .. reason .. '"', 1, true) then headers:replace(":status", own) end
  end
  -- gRPC itself refuses so what is larger as a message than a message may be.
  if status == "429" and string.find(text, '"message":"[^"]*eceived message larger than max') then
    status = "413"
    headers:replace(":status", status)
  end
  if DETAILS[status] and not string.find(text, '"details":', 1, true) then
    text = string.gsub(text, "}%s*$", ',"details":' .. DETAILS[status] .. "}")
    headers:replace("content-length", body:setBytes(text))
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
