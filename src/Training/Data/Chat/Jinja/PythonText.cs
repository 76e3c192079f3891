using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>Values as Python prints them.</summary>
internal static class PythonText
{
    /// <summary><c>str(value)</c>; empty for what is undefined.</summary>
    public static string Of(Value value, Budget budget)
    {
        if (value is TextValue text) return text.Value;
        if (value is UndefinedValue) return "";
        var builder = new StringBuilder();
        Write(value, builder, budget);
        return builder.ToString();
    }

    /// <summary>A number as Python writes it: the shortest form that reads back, with a point or an exponent.</summary>
    public static string Of(double number)
    {
        if (!double.IsFinite(number)) return double.IsNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
        var shortest = number.ToString("E16", CultureInfo.InvariantCulture);
        var exponent = int.Parse(shortest.AsSpan(shortest.IndexOf('E') + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        if (number == 0 || exponent is >= -4 and < 16)
        {
            var plain = number.ToString("R", CultureInfo.InvariantCulture);
            if (plain.Contains('E')) plain = ((decimal)number).ToString(CultureInfo.InvariantCulture);
            return plain.Contains('.') ? plain : plain + ".0";
        }

        var digits = number.ToString("R", CultureInfo.InvariantCulture);
        var mantissa = digits.Split('E')[0];
        if (!digits.Contains('E'))
        {
            // 1e16 and above that .NET still writes out.
            var sign = number < 0 ? "-" : "";
            var plain = digits.TrimStart('-').TrimEnd('0');
            mantissa = sign + (plain.Length == 1 ? plain : $"{plain[0]}.{plain[1..]}");
        }

        return string.Create(CultureInfo.InvariantCulture, $"{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}");
    }

    private static void Write(Value value, StringBuilder to, Budget budget)
    {
        budget.Enter();
        budget.Spend(48);
        switch (value)
        {
            case NoneValue:
                to.Append("None");
                break;
            case BoolValue flag:
                to.Append(flag.Value ? "True" : "False");
                break;
            case IntValue number:
                to.Append(CultureInfo.InvariantCulture, $"{number.Value}");
                break;
            case FloatValue number:
                to.Append(Of(number.Value));
                break;
            case TextValue text:
                WriteQuoted(text.Value, to, budget);
                break;
            case ListValue list:
                to.Append(list.IsTuple ? '(' : '[');
                for (var i = 0; i < list.Items.Count; i++)
                {
                    if (i > 0) to.Append(", ");
                    Write(list.Items[i], to, budget);
                }

                to.Append(list.IsTuple ? list.Items.Count == 1 ? ",)" : ")" : "]");
                break;
            case DictValue dict:
                to.Append('{');
                for (var i = 0; i < dict.Entries.Count; i++)
                {
                    if (i > 0) to.Append(", ");
                    Write(dict.Entries.GetAt(i).Key, to, budget);
                    to.Append(": ");
                    Write(dict.Entries.GetAt(i).Value, to, budget);
                }

                to.Append('}');
                break;
            case UndefinedValue:
                to.Append("Undefined");
                break;
            default:
                throw new JinjaException($"{value.Kind} has no text; print one of its attributes or its result");
        }

        budget.Leave();
    }

    private static void WriteQuoted(string text, StringBuilder to, Budget budget)
    {
        budget.SpendText(4L * text.Length);
        var quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        to.Append(quote);
        foreach (var character in text)
        {
            switch (character)
            {
                case '\n':
                    to.Append("\\n");
                    break;
                case '\r':
                    to.Append("\\r");
                    break;
                case '\t':
                    to.Append("\\t");
                    break;
                case '\\':
                    to.Append("\\\\");
                    break;
                case var _ when character == quote:
                    to.Append('\\').Append(quote);
                    break;
                case var _ when character < 32 || character is >= '\u007f' and <= '\u00a0':
                    to.Append(CultureInfo.InvariantCulture, $"\\x{(int)character:x2}");
                    break;
                default:
                    to.Append(character);
                    break;
            }
        }

        to.Append(quote);
    }
}
