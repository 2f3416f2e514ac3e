# Prints the variables of a .env file, one a line, as python-dotenv reads them: values stand in quotes or
# without, comments are dropped, the last of one name counts. A space becomes ␣, since make splits at spaces.
BEGIN { quote = sprintf("%c", 39) }
{ sub(/\r$/, "") }
match($0, /^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*=[ \t]*/) {
    name = substr($0, 1, RLENGTH)
    value = substr($0, RLENGTH + 1)
    gsub(/^[ \t]*(export[ \t]+)?|[ \t]*=[ \t]*$/, "", name)
    first = substr(value, 1, 1)
    if (first == "\"" || first == quote) {
        value = substr(value, 2)
        value = substr(value, 1, index(value, first) - 1)
    } else {
        sub(/[ \t]+#.*/, "", value)
        sub(/[ \t]+$/, "", value)
    }
    gsub(/[ \t]/, "␣", value)
    values[name] = value
}
END { for (name in values) print name "=" values[name] }
