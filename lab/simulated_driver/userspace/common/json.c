// SPDX-License-Identifier: GPL-3.0-or-later

#include "common/json.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAXIMUM_DEPTH 16
#define MAXIMUM_VALUES 8192

struct json_document {
	char *text;			/* strings are decoded in place and point into it */
	struct json_value *values;
	size_t count;
};

struct reader {
	struct json_document *document;
	char *at;
	const char *problem;
};

static bool read_value(struct reader *reader, struct json_value *value, int depth);

static bool fail(struct reader *reader, const char *problem)
{
	if (!reader->problem)
		reader->problem = problem;
	return false;
}

static void skip_space(struct reader *reader)
{
	while (*reader->at && strchr(" \t\r\n", *reader->at))
		reader->at++;
}

static struct json_value *new_value(struct reader *reader)
{
	if (reader->document->count == MAXIMUM_VALUES) {
		fail(reader, "too many values");
		return NULL;
	}
	return &reader->document->values[reader->document->count++];
}

static char *write_utf8(char *out, unsigned int code)
{
	if (code < 0x80) {
		*out++ = (char)code;
	} else if (code < 0x800) {
		*out++ = (char)(0xC0 | code >> 6);
		*out++ = (char)(0x80 | (code & 0x3F));
	} else {
		*out++ = (char)(0xE0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3F));
		*out++ = (char)(0x80 | (code & 0x3F));
	}
	return out;
}

/* Decodes one escape behind a backslash; the result is never longer than its source. */
static char *read_escape(struct reader *reader, char *out)
{
	static const char names[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	char kind = *reader->at++;
	const char *known = kind ? strchr(names, kind) : NULL;
	unsigned int code = 0;

	if (known) {
		*out++ = meanings[known - names];
		return out;
	}
	if (kind != 'u') {
		fail(reader, "unknown escape in a string");
		return NULL;
	}
	for (int digit = 0; digit < 4; digit++) {
		char c = *reader->at;

		if (!isxdigit((unsigned char)c)) {
			fail(reader, "\\u needs four hexadecimal digits");
			return NULL;
		}
		code = code * 16 + (unsigned int)(isdigit((unsigned char)c)
						  ? c - '0' : (c | 0x20) - 'a' + 10);
		reader->at++;
	}
	if (code == 0 || (code >= 0xD800 && code <= 0xDFFF)) {
		fail(reader, "\\u of zero or of a surrogate");
		return NULL;
	}
	return write_utf8(out, code);
}

static const char *read_string(struct reader *reader)
{
	char *start, *out;

	if (*reader->at != '"') {
		fail(reader, "a string was expected");
		return NULL;
	}
	start = out = ++reader->at;
	while (*reader->at != '"') {
		if ((unsigned char)*reader->at < 0x20) {
			fail(reader, "a string is not closed or has a control character");
			return NULL;
		}
		if (*reader->at == '\\') {
			reader->at++;
			out = read_escape(reader, out);
			if (!out)
				return NULL;
		} else {
			*out++ = *reader->at++;
		}
	}
	reader->at++;
	*out = '\0';
	return start;
}

static bool read_digits(const char **at)
{
	if (!isdigit((unsigned char)**at))
		return false;
	while (isdigit((unsigned char)**at))
		(*at)++;
	return true;
}

static bool read_number(struct reader *reader, struct json_value *value)
{
	const char *at = reader->at;

	if (*at == '-')
		at++;
	if (*at == '0' && isdigit((unsigned char)at[1]))
		return fail(reader, "a number starts with zero");
	if (!read_digits(&at))
		return fail(reader, "a value was expected");
	if (*at == '.') {
		at++;
		if (!read_digits(&at))
			return fail(reader, "digits were expected behind the point");
	}
	if (*at == 'e' || *at == 'E') {
		at++;
		if (*at == '+' || *at == '-')
			at++;
		if (!read_digits(&at))
			return fail(reader, "digits were expected in the exponent");
	}
	value->type = JSON_NUMBER;
	value->number = strtod(reader->at, NULL);
	reader->at += at - reader->at;
	return isfinite(value->number) || fail(reader, "a number is out of range");
}

static bool read_members(struct reader *reader, struct json_value *value, int depth)
{
	bool object = *reader->at == '{';
	char close = object ? '}' : ']';
	const struct json_value **link = &value->first;

	value->type = object ? JSON_OBJECT : JSON_ARRAY;
	reader->at++;
	skip_space(reader);
	if (*reader->at == close) {
		reader->at++;
		return true;
	}
	for (;;) {
		struct json_value *member = new_value(reader);

		if (!member)
			return false;
		skip_space(reader);
		if (object) {
			member->name = read_string(reader);
			if (!member->name)
				return false;
			if (json_member(value, member->name))
				return fail(reader, "a name stands twice in an object");
			skip_space(reader);
			if (*reader->at++ != ':')
				return fail(reader, "a colon was expected");
		}
		if (!read_value(reader, member, depth + 1))
			return false;
		*link = member;
		link = &member->next;
		skip_space(reader);
		if (*reader->at == close) {
			reader->at++;
			return true;
		}
		if (*reader->at++ != ',')
			return fail(reader, "a comma or the end of a list was expected");
	}
}

static bool read_word(struct reader *reader, const char *word)
{
	size_t length = strlen(word);

	if (strncmp(reader->at, word, length) != 0)
		return fail(reader, "a value was expected");
	reader->at += length;
	return true;
}

static bool read_value(struct reader *reader, struct json_value *value, int depth)
{
	if (depth > MAXIMUM_DEPTH)
		return fail(reader, "nested too deeply");
	skip_space(reader);
	switch (*reader->at) {
	case '{':
	case '[':
		return read_members(reader, value, depth);
	case '"':
		value->type = JSON_STRING;
		value->string = read_string(reader);
		return value->string != NULL;
	case 't':
	case 'f':
		value->type = JSON_BOOLEAN;
		value->boolean = *reader->at == 't';
		return read_word(reader, value->boolean ? "true" : "false");
	case 'n':
		value->type = JSON_NULL;
		return read_word(reader, "null");
	default:
		return read_number(reader, value);
	}
}

struct json_document *json_parse(const char *text, const char **error)
{
	static _Thread_local char message[160];
	struct json_document *document = calloc(1, sizeof(*document));
	struct reader reader = { .document = document };
	struct json_value *root;

	*error = message;
	snprintf(message, sizeof(message), "out of memory");
	if (!document)
		return NULL;
	document->text = strdup(text);
	document->values = calloc(MAXIMUM_VALUES, sizeof(*document->values));
	if (!document->text || !document->values) {
		json_free(document);
		return NULL;
	}
	reader.at = document->text;
	root = new_value(&reader);
	if (read_value(&reader, root, 0)) {
		skip_space(&reader);
		if (*reader.at == '\0')
			return document;
		fail(&reader, "text behind the value");
	}
	snprintf(message, sizeof(message), "%s at byte %td", reader.problem,
		 reader.at - document->text);
	json_free(document);
	return NULL;
}

void json_free(struct json_document *document)
{
	if (!document)
		return;
	free(document->values);
	free(document->text);
	free(document);
}

const struct json_value *json_root(const struct json_document *document)
{
	return &document->values[0];
}

const struct json_value *json_member(const struct json_value *value, const char *name)
{
	if (!value || value->type != JSON_OBJECT)
		return NULL;
	for (const struct json_value *member = value->first; member; member = member->next)
		if (strcmp(member->name, name) == 0)
			return member;
	return NULL;
}

double json_number(const struct json_value *object, const char *name, double fallback)
{
	const struct json_value *member = json_member(object, name);

	return member && member->type == JSON_NUMBER ? member->number : fallback;
}

const char *json_string(const struct json_value *object, const char *name, const char *fallback)
{
	const struct json_value *member = json_member(object, name);

	return member && member->type == JSON_STRING ? member->string : fallback;
}

bool json_boolean(const struct json_value *object, const char *name, bool fallback)
{
	const struct json_value *member = json_member(object, name);

	return member && member->type == JSON_BOOLEAN ? member->boolean : fallback;
}
