-- SPDX-License-Identifier: GPL-2.0-or-later
--
-- Fields for the process that tccap labels a packet with.
--
-- tccap writes the label into the packet's comment, so that every version of
-- Wireshark can show it: "pid=4242 comm=curl uid=1000", then perhaps more terms
-- (src/tccap/owners/label.py has the grammar). This post-dissector turns it into
-- fields, which can be filtered by and shown as columns. If the sender is an unknown
-- process of this host, the label names the receiver alone: "peer_pid=80 peer_comm=nginx".
-- Comments that begin in another way are not tccap's and are left alone.
--
-- For Lua 5.2 to 5.4: Wireshark 4.0 to 4.6.

local tccap = Proto("tccap", "Process (tccap)")

local fields = {
    pid = ProtoField.uint32("tccap.pid", "Process id"),
    tid = ProtoField.uint32("tccap.tid", "Thread id"),
    ppid = ProtoField.uint32("tccap.ppid", "Parent process id"),
    comm = ProtoField.string("tccap.comm", "Process name"),
    uid = ProtoField.uint32("tccap.uid", "User id"),
    exe = ProtoField.string("tccap.exe", "Program"),
    args = ProtoField.string("tccap.args", "Arguments"),
    container = ProtoField.string("tccap.container", "Container id"),
    peer_pid = ProtoField.uint32("tccap.peer_pid", "Peer's process id"),
    peer_comm = ProtoField.string("tccap.peer_comm", "Peer's process name"),
}
local is_number = { pid = true, tid = true, ppid = true, uid = true, peer_pid = true }
local UINT32_MAX = 4294967295

tccap.fields = fields

local comments = Field.new("frame.comment")

-- Returns the length of the UTF-8 character at a position; nil if there is none.
local function character_len(text, at)
    local first, second = text:byte(at, at + 1)
    if first < 0x80 then return 1 end
    if first < 0xC2 or first > 0xF4 then return nil end
    local len = first < 0xE0 and 2 or first < 0xF0 and 3 or 4
    -- Excludes overlong forms, surrogates, and what is beyond U+10FFFF.
    local low = first == 0xE0 and 0xA0 or first == 0xF0 and 0x90 or 0x80
    local high = first == 0xED and 0x9F or first == 0xF4 and 0x8F or 0xBF
    if not second or second < low or second > high then return nil end
    return #text:match("^[\128-\191]*", at + 1) >= len - 1 and len or nil
end

-- Names are bytes; bytes that are not UTF-8 become U+FFFD, as in Wireshark itself.
local function as_utf8(text)
    if not text:find("[\128-\255]") then return text end
    local parts, at = {}, 1
    while at <= #text do
        local len = character_len(text, at)
        parts[#parts + 1] = len and text:sub(at, at + len - 1) or "\239\191\189"
        at = at + (len or 1)
    end
    return table.concat(parts)
end

local function unquoted(text)
    return (text:gsub("\\x(%x%x)", function(digits)
        return string.char(tonumber(digits, 16))
    end))
end

-- Returns the value's text and the position behind it; nil if there is no value.
local function value_at(comment, at)
    local quoted, behind = comment:match('^"([^"]*)"()', at)
    if quoted then return as_utf8(unquoted(quoted)), behind end
    return comment:match("^([%w_@+,%-./:]+)()", at)
end

-- Returns a comment's terms as a list of {key, value}; nil if it is not tccap's.
local function terms_of(comment)
    local is_peers = comment:find("^peer_pid=%d+ peer_comm=")
    if not is_peers and not comment:find("^pid=%d+ comm=") then return nil end
    local terms, known, at = {}, {}, 1
    while at do
        local key, start = comment:match("^([%l_]+)=()", at)
        if not key then break end
        local value, behind = value_at(comment, start)
        if not value then break end
        if is_number[key] then
            value = value:find("^%d+$") and tonumber(value)
            if not value or value > UINT32_MAX then break end
        end
        known[key] = value
        terms[#terms + 1] = { key, value }
        at = comment:match("^ ()", behind)
    end
    if is_peers then return known.peer_comm and not known.pid and terms, known end
    return known.comm and known.uid and terms, known
end

local function summary(known)
    local text = "Process: unknown"
    if known.pid then
        text = ("Process: %s (%d), user %d"):format(known.comm, known.pid, known.uid)
    end
    if known.peer_pid and known.peer_comm then
        text = ("%s, to %s (%d)"):format(text, known.peer_comm, known.peer_pid)
    end
    return (text:gsub("%c", function(character) -- it is one line
        return ("\\x%02x"):format(character:byte())
    end))
end

function tccap.dissector(_, _, root)
    for _, info in ipairs({ comments() }) do
        local terms, known = terms_of(info.value)
        if terms then
            local tree = root:add(tccap, summary(known))
            tree:set_generated()
            for _, term in ipairs(terms) do
                local field = fields[term[1]]
                if field then tree:add(field, term[2]):set_generated() end
            end
        end
    end
end

register_postdissector(tccap)
