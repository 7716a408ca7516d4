-- SPDX-License-Identifier: GPL-2.0-or-later
--
-- Fields for the process that tccap labels a packet with.
--
-- tccap writes the label into the packet's comment, so that every version of
-- Wireshark can show it: "pid=4242 comm=curl uid=1000", then perhaps more terms
-- (src/tccap/owners/label.py has the grammar). If the receiver alone is known, it is
-- "peer_pid=80 peer_comm=nginx". This post-dissector turns it into fields, which can
-- be filtered by and shown as columns. Comments that begin in another way are not
-- tccap's and are left alone.
--
-- For Lua 5.2 to 5.4: Wireshark 4.0 to 4.6.

-- Fails if another copy is loaded already: one from a plugin folder, one by -X.
local is_first, tccap = pcall(Proto, "tccap", "Process (tccap)")
if not is_first then return end

local label = ProtoField.string("tccap.label", "Process")
local process = ProtoField.string("tccap.process", "Process name at either end")
local process_pid = ProtoField.uint32("tccap.process.pid", "Process id at either end")
local term_fields = { -- by the term's key
    pid = ProtoField.uint32("tccap.pid", "Process id"),
    tid = ProtoField.uint32("tccap.tid", "Thread id"),
    ppid = ProtoField.uint32("tccap.ppid", "Parent process id"),
    comm = ProtoField.string("tccap.comm", "Process name"),
    name = ProtoField.string("tccap.name", "Program name or script"),
    uid = ProtoField.uint32("tccap.uid", "User id"),
    user = ProtoField.string("tccap.user", "User name"),
    exe = ProtoField.string("tccap.exe", "Program"),
    args = ProtoField.string("tccap.args", "Arguments"),
    peer_pid = ProtoField.uint32("tccap.peer_pid", "Peer's process id"),
    peer_comm = ProtoField.string("tccap.peer_comm", "Peer's process name"),
    container = ProtoField.string("tccap.container", "Container id"),
    container_name = ProtoField.string("tccap.container_name", "Container name"),
    pod = ProtoField.string("tccap.pod", "Pod"),
    namespace = ProtoField.string("tccap.namespace", "Namespace"),
    unit = ProtoField.string("tccap.unit", "Unit"),
    peer_container = ProtoField.string("tccap.peer_container", "Peer's container id"),
    peer_container_name =
        ProtoField.string("tccap.peer_container_name", "Peer's container name"),
    peer_pod = ProtoField.string("tccap.peer_pod", "Peer's pod"),
    peer_namespace = ProtoField.string("tccap.peer_namespace", "Peer's namespace"),
    peer_unit = ProtoField.string("tccap.peer_unit", "Peer's unit"),
}
local is_number = { pid = true, tid = true, ppid = true, uid = true, peer_pid = true }
local UINT32_MAX = 4294967295

local fields = { label, process, process_pid }
for _, field in pairs(term_fields) do fields[#fields + 1] = field end
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

-- Returns a term's key and value and the position behind it; nil if there is none.
local function term_at(comment, at)
    local key, start = comment:match("^([%l_]+)=()", at)
    if not key then return nil end
    local value, behind = value_at(comment, start)
    if value and is_number[key] then
        value = value:find("^%d+$") and tonumber(value)
        if value and value > UINT32_MAX then return nil end
    end
    if value then return key, value, behind end
end

-- Returns a comment's terms as a list of {key, value}, and as a table.
local function parsed(comment)
    local terms, known, at = {}, {}, 1
    while at do
        local key, value, behind = term_at(comment, at)
        if not key then break end
        known[key] = value
        terms[#terms + 1] = { key, value }
        at = comment:match("^ ()", behind)
    end
    return terms, known
end

-- Returns what parsed() returns; nil if the comment is not tccap's.
local function terms_of(comment)
    local terms, known = parsed(comment)
    if comment:find("^pid=%d+ comm=") then
        return known.comm and known.uid and terms, known
    elseif comment:find("^peer_pid=%d+ peer_comm=") then
        return known.peer_comm and not known.pid and terms, known
    end
end

local function summary(known)
    local sender = "not known"
    if known.pid then
        local name = known.name or known.comm
        sender = ("%s (%d), user %s"):format(name, known.pid, known.user or known.uid)
    end
    if not (known.peer_pid and known.peer_comm) then return sender end
    return ("%s, to %s (%d)"):format(sender, known.peer_comm, known.peer_pid)
end

local function add(tree, field, value)
    if value then return tree:add(field, value):set_generated() end
end

-- Each of these fields is there once for each end, as ip.addr is.
local function add_either_end(tree, known)
    add(tree, process, known.comm)
    if known.name ~= known.comm then add(tree, process, known.name) end
    add(tree, process, known.peer_comm)
    add(tree, process_pid, known.pid)
    add(tree, process_pid, known.peer_pid)
end

-- In the protocol hierarchy a protocol at the top of the tree would stand below all
-- others and end every packet. So a field is at the top, and holds the protocol, which
-- the filter "tccap" needs.
local function add_label(root, terms, known)
    local tree = add(root, label, summary(known))
    tree:add(tccap):set_hidden()
    for _, term in ipairs(terms) do
        local field = term_fields[term[1]]
        if field then add(tree, field, term[2]) end
    end
    add_either_end(tree, known)
end

function tccap.dissector(_, _, root)
    for _, info in ipairs({ comments() }) do
        local terms, known = terms_of(info.value)
        if terms then add_label(root, terms, known) end
    end
end

register_postdissector(tccap)
