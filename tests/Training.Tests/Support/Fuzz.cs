using System.Diagnostics;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Training.Tests;

/// <summary>
/// Seeded mutations of valid files: a reader answers each with an object or a <see cref="BadInputException"/>, quickly and in little
/// memory. <c>FEDRLORA_FUZZ</c> sets how many mutations; the default is a sample.
/// </summary>
public static class Fuzz
{
    private const int Sample = 400;
    private const long AllocatedBytes = 64L << 20;
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(10);

    // What breaks readers: sizes, signs, nesting, other types, wrong Unicode.
    private static readonly string[] Fragments =
    [
        "0", "-1", "1e999", "NaN", "4294967296", "9223372036854775807", "18446744073709551616", "0.5", "null", "true", "false",
        "[]", "{}", "\"\"", "\"\\ud800\"", "\"\\u0000\"", "\"..\"", "[[[[[[[[", "{\"a\":", "]]]]", "}}}}", ",", ":", "\"", "\\",
        "(((((((((", "a{1,99999}", "[^", "(?<=", "{{", "}}", "{%", "%}", "{#",
    ];

    /// <summary>How many mutations a run makes.</summary>
    public static int Count =>
        int.TryParse(Environment.GetEnvironmentVariable("FEDRLORA_FUZZ"), CultureInfo.InvariantCulture, out var count) ? count : Sample;

    /// <summary>Feeds mutations of the samples to a reader, in turn.</summary>
    /// <param name="samples">Valid inputs.</param>
    /// <param name="read">Reads one; must return or throw <see cref="BadInputException"/>. Runs on the calling thread.</param>
    /// <param name="count">How many; null for <see cref="Count"/>.</param>
    /// <param name="mutate">Changes a sample; null for <see cref="Mutate"/>.</param>
    /// <returns>How many were read and how many were refused.</returns>
    public static (int Read, int Refused) Run(
        IReadOnlyList<byte[]> samples, Action<byte[]> read, int? count = null, Func<byte[], Random, byte[]>? mutate = null)
    {
        var (accepted, refused) = (0, 0);
        for (var i = 0; i < (count ?? Count); i++)
        {
            var random = new Random(i);
            var mutant = (mutate ?? Mutate)(samples[i % samples.Count], random);
            var (allocated, clock) = (GC.GetAllocatedBytesForCurrentThread(), Stopwatch.StartNew());
            try
            {
                read(mutant);
                accepted++;
            }
            catch (BadInputException problem)
            {
                Assert.False(string.IsNullOrWhiteSpace(problem.Message) || problem.Message.Contains('\n'),
                    $"mutation {i}: the message is not one line: {problem.Message}");
                refused++;
            }
            catch (Exception exception)
            {
                Assert.Fail($"mutation {i}: {exception}\n{Show(mutant)}");
            }

            allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
            Assert.True(allocated <= AllocatedBytes + 20L * mutant.Length,
                $"mutation {i} of {mutant.Length} bytes allocated {allocated >> 20} MiB\n{Show(mutant)}");
            Assert.True(clock.Elapsed < Longest, $"mutation {i} took {clock.Elapsed}\n{Show(mutant)}");
        }

        return (accepted, refused);
    }

    /// <summary>One to four changes: of bits, bytes, runs, numbers, words, or of the file's end.</summary>
    public static byte[] Mutate(byte[] sample, Random random)
    {
        var bytes = sample.ToList();
        for (var change = random.Next(1, 5); change > 0 && bytes.Count > 0; change--)
        {
            // Most of a large file is vocabulary; its structure sits at both ends.
            var reach = random.Next(3) == 0 ? bytes.Count : Math.Min(bytes.Count, 4096);
            var at = random.Next(2) == 0 ? random.Next(reach) : bytes.Count - 1 - random.Next(reach);
            switch (random.Next(9))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 2:
                    bytes.RemoveRange(at, Math.Min(bytes.Count - at, random.Next(1, 40)));
                    break;
                case 3:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                case 4:
                    bytes.InsertRange(at, bytes.GetRange(at, Math.Min(bytes.Count - at, random.Next(1, 80))));
                    break;
                case 5:
                    bytes.InsertRange(at, Encoding.UTF8.GetBytes(Fragments[random.Next(Fragments.Length)]));
                    break;
                case 6:
                    Replace(bytes, at, static value => char.IsAsciiDigit((char)value), random);
                    break;
                case 7:
                    Replace(bytes, at,
                        static value => value is not ((byte)',' or (byte)':' or (byte)'{' or (byte)'}' or (byte)'[' or (byte)']'), random);
                    break;
                default:
                    Swap(bytes, at, random.Next(bytes.Count), random.Next(1, 30));
                    break;
            }
        }

        return [.. bytes];
    }

    // The first run at or after a place becomes a fragment.
    private static void Replace(List<byte> bytes, int at, Predicate<byte> belongs, Random random)
    {
        var from = bytes.FindIndex(at, belongs);
        if (from < 0) return;
        var to = bytes.FindIndex(from, value => !belongs(value));
        bytes.RemoveRange(from, Math.Min(64, (to < 0 ? bytes.Count : to) - from));
        bytes.InsertRange(from, Encoding.UTF8.GetBytes(Fragments[random.Next(Fragments.Length)]));
    }

    private static void Swap(List<byte> bytes, int one, int two, int length)
    {
        for (var i = 0; i < length && one + i < bytes.Count && two + i < bytes.Count; i++)
            (bytes[one + i], bytes[two + i]) = (bytes[two + i], bytes[one + i]);
    }

    private static string Show(byte[] mutant) => Encoding.UTF8.GetString(mutant, 0, Math.Min(mutant.Length, 2000));
}
