namespace FedRLora.Silo.Otlp;

/// <summary>How many spans, log records or metrics a request of OTLP has: in all three they are field 2 of field 2 of field 1.</summary>
internal static class OtlpCount
{
    private static readonly int[] Path = [1, 2, 2];

    /// <summary>Counts them; what cannot be read counts as 0.</summary>
    public static int In(ReadOnlySpan<byte> message) => In(message, depth: 0);

    private static int In(ReadOnlySpan<byte> message, int depth)
    {
        var count = 0;
        while (message.Length > 0)
        {
            if (!Varint(ref message, out var key)) return count;
            ulong length;
            switch (key & 7)
            {
                case 0:
                    if (!Varint(ref message, out _)) return count;
                    continue;
                case 1:
                    length = 8;
                    break;
                case 5:
                    length = 4;
                    break;
                case 2:
                    if (!Varint(ref message, out length)) return count;
                    break;
                default:
                    return count;
            }

            if (length > (ulong)message.Length) return count;
            if ((key & 7) == 2 && (int)(key >> 3) == Path[depth])
                count += depth == Path.Length - 1 ? 1 : In(message[..(int)length], depth + 1);
            message = message[(int)length..];
        }

        return count;
    }

    private static bool Varint(ref ReadOnlySpan<byte> message, out ulong value)
    {
        value = 0;
        for (var shift = 0; shift < 64 && message.Length > 0; shift += 7)
        {
            var next = message[0];
            message = message[1..];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80) return true;
        }

        return false;
    }
}
