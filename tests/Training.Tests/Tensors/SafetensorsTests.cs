using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests.Tensors;

public sealed class SafetensorsTests
{
    private static readonly Dictionary<string, string> Metadata = new() { ["round"] = "3", ["format"] = "pt" };

    [Fact]
    public void What_is_written_reads_back_equal()
    {
        var state = State(("b", [2, 3], [1, -2, 3.5f, float.MaxValue, 0, 1e-40f]), ("a", [], [7]), ("empty", [0, 4], []));

        var (read, metadata) = SafetensorsCodec.Read(new MemoryStream(Bytes(state)), Bytes(state).Length, "file");

        Assert.Equal(Metadata, metadata);
        Assert.Equal(state.Keys, read.Keys);
        Assert.All(state, entry => Assert.Equal(entry.Value.Data, read[entry.Key].Data));
        Assert.All(state, entry => Assert.Equal(entry.Value.Shape, read[entry.Key].Shape));
    }

    [Theory, InlineData(1), InlineData(40_000), InlineData(100_000)]
    public void Elements_that_are_read_a_few_at_a_time_are_those_that_are_read_at_once(int most)
    {
        var drawn = new Random(1);
        double[] wide = [.. Enumerable.Range(0, 100_000).Select(_ => drawn.NextDouble())];
        var halves = MemoryMarshal.AsBytes<Half>(Array.ConvertAll(wide, static value => (Half)value)).ToArray();
        using var file = new MemoryStream();
        SafetensorsWriter.Write(new Dictionary<string, SafetensorsArray>
        {
            ["wide"] = SafetensorsArray.Of([wide.Length], wide), ["empty"] = SafetensorsArray.Of([0], Array.Empty<float>()),
            ["single"] = SafetensorsArray.Of([wide.Length], Array.ConvertAll(wide, static value => (float)value)),
            ["half"] = SafetensorsArray.Streamed(SafetensorsDtype.F16, [wide.Length], stream => stream.Write(halves)),
            ["brain"] = SafetensorsArray.Streamed(SafetensorsDtype.BF16, [wide.Length], stream => stream.Write(halves)),
        }, Metadata, file);

        file.Position = 0;
        var reader = new SafetensorsReader(file, file.Length, "file");
        var read = new Dictionary<string, float[]>();
        foreach (var tensor in reader.Tensors)
        {
            read[tensor.Name] = new float[tensor.Count];
            for (var start = 0; start < tensor.Count; start += most)
                reader.Read(read[tensor.Name].AsSpan(start, Math.Min(most, read[tensor.Name].Length - start)));
        }

        reader.ExpectEnd();
        var whole = SafetensorsCodec.Read(file.ToArray(), "file");
        Assert.Equal(["wide", "empty", "single", "brain", "half"], reader.Tensors.Select(static tensor => tensor.Name));
        Assert.All(whole, array => Assert.Equal(array.Value.Data, read[array.Key]));
        Assert.Equal(wide[^1], whole["half"].Data[^1], 1e-3);
        Assert.Equal((float)wide[^1], whole["wide"].Data[^1]);
        Assert.Equal(Metadata, reader.Metadata);
    }

    [Fact]
    public void A_file_that_ends_inside_a_tensor_says_after_how_many_of_its_bytes()
    {
        var bytes = Bytes(State(("a", [4], [1, 2, 3, 4])));
        var reader = new SafetensorsReader(new MemoryStream(bytes[..^6]), bytes.Length, "file");
        reader.Read(new float[1]);

        Assert.Equal(
            "file: tensor a: the file ended after 10 of its 16 bytes",
            Assert.Throws<BadInputException>(() => reader.Read(new float[3])).Message);
    }

    [Fact]
    public void Equal_content_gives_equal_bytes_whatever_the_order()
    {
        var arrays = new Dictionary<string, SafetensorsArray>
        {
            ["z"] = SafetensorsArray.Of([2], [1f, 2f]), ["ä"] = SafetensorsArray.Of([1], [3f]),
            ["steps"] = SafetensorsArray.Of([1], [4L]), ["sum"] = SafetensorsArray.Of([1], [5.0]),
        };

        using var first = new MemoryStream();
        using var second = new MemoryStream();
        SafetensorsWriter.Write(arrays, Metadata, first);
        SafetensorsWriter.Write(arrays.Reverse(), Metadata.Reverse().ToDictionary(), second);

        Assert.Equal(first.ToArray(), second.ToArray());
        Assert.Equal(0, (int)BinaryPrimitives.ReadUInt64LittleEndian(first.ToArray()) % 8);
    }

    [Fact]
    public void A_mapped_file_reads_what_was_written()
    {
        using var folder = new TemporaryFolder();
        using (var stream = File.Create(folder.File("x.safetensors")))
        {
            SafetensorsWriter.Write(
                new Dictionary<string, SafetensorsArray>
                {
                    ["f"] = SafetensorsArray.Of([2], [1f, 2f]),
                    ["d"] = SafetensorsArray.Of([1], [0.1]),
                    ["i"] = SafetensorsArray.Of([2], [3L, -4L]),
                },
                Metadata, stream);
        }

        using var file = SafetensorsFile.Open(folder.File("x.safetensors"));

        Assert.Equal([1f, 2f], file.ReadFloat32("f"));
        Assert.Equal([0.1], file.ReadFloat64("d"));
        Assert.Equal([0.1f], file.ReadFloat32("d"));
        Assert.Equal([3L, -4L], file.ReadInt64("i"));
        AssertRefused(() => file.ReadFloat32("i"), "tensor i", "I64");
        AssertRefused(() => file.ReadFloat32("absent"), "tensor absent is missing");
    }

    [Fact]
    public void A_mapped_file_can_be_neither_empty_nor_absent()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.File("empty.safetensors"), []);

        AssertRefused(() => SafetensorsFile.Open(folder.File("empty.safetensors")), "empty.safetensors", "0 bytes");
        AssertRefused(() => SafetensorsFile.Open(folder.File("absent.safetensors")), "absent.safetensors");
    }

    [Fact]
    public void Half_precision_becomes_float32()
    {
        var file = Raw("""{"bf":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"h":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}}""",
            [0x80, 0x3f, 0x20, 0xc0, 0x00, 0x3e]);

        var state = SafetensorsCodec.Read(file, "file");

        Assert.Equal([1f, -2.5f], state["bf"].Data);
        Assert.Equal([1.5f], state["h"].Data);
    }

    [Fact]
    public void A_float64_file_reads_back_unrounded()
    {
        using var stream = new MemoryStream();
        SafetensorsWriter.Write(new Dictionary<string, SafetensorsArray> { ["sum"] = SafetensorsArray.Of([2], [0.1, 1.0 / 3]) },
            Metadata, stream);
        stream.Position = 0;

        var (arrays, _) = SafetensorsCodec.ReadFloat64(stream, stream.Length, "partial");

        Assert.Equal([0.1, 1.0 / 3], arrays["sum"].Data);
    }

    [Fact]
    public void Every_truncation_is_refused()
    {
        var whole = Bytes(State(("a", [2], [1, 2])));
        for (var length = 0; length < whole.Length; length++)
            AssertRefused(() => SafetensorsCodec.Read(whole[..length], "cut.safetensors"), "cut.safetensors");
    }

    [Fact]
    public void A_stream_that_is_shorter_or_longer_than_it_was_said_to_be_is_refused()
    {
        var whole = Bytes(State(("a", [2], [1, 2])));

        AssertRefused(() => SafetensorsCodec.Read(new MemoryStream(whole[..^1]), whole.Length, "blob"), "tensor a", "7 of its 8 bytes");
        AssertRefused(() => SafetensorsCodec.Read(new MemoryStream([.. whole, 0]), whole.Length, "blob"), "goes on");
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}""", 6,
        "tensor b", "overlaps")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""",
        4, "overlaps")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}""", 12,
        "tensor b", "gap", "begin at 4")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 8, "8 bytes of data", "describes 4")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8,
        "tensor a occurs twice")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "tensor a", "8 bytes, expected 12 for F32 [3]")]
    [InlineData("""{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}""", 8, "tensor a", "dtype F31")]
    [InlineData("""{"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}""", 8, "dtype f32")]
    [InlineData("""{"a":{"dtype":"1","shape":[2],"data_offsets":[0,8]}}""", 8, "dtype 1")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "tensor a", "-2")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", 8, "2.5")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}""", 8, "tensor a", "does not fit any file")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,8]}}""", 8, "expected 4000000000000")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "ordered range")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8000000000]}}""", 8, "within 8 bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}""", 8, "data_offsets contains")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}""", 8, "3 entries")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2]}}""", 8, "expected dtype, shape and data_offsets")]
    [InlineData("""{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "repeated dtype")]
    [InlineData("""{"__metadata__":{"k":1}}""", 0, "__metadata__ k", "expected a string")]
    [InlineData("""{"__metadata__":{"k":"a","k":"b"}}""", 0, "k occurs twice")]
    [InlineData("""{"__metadata__":{},"__metadata__":{}}""", 0, "occurs twice")]
    [InlineData("""["a"]""", 0, "file")]
    [InlineData("""{"a":""", 0, "not valid JSON")]
    public void A_header_that_does_not_describe_the_file_is_refused_by_name(string header, int dataBytes, params string[] expected) =>
        AssertRefused(() => SafetensorsCodec.Read(Raw(header, new byte[dataBytes]), "file"), [.. expected, "file"]);

    [Fact]
    public void A_header_of_hostile_length_is_refused_before_anything_is_allocated()
    {
        foreach (var length in (ulong[])[ulong.MaxValue, long.MaxValue, SafetensorsHeader.MaxHeaderBytes + 1,
            SafetensorsHeader.MaxHeaderBytes, 9])
        {
            var file = new byte[16];
            BinaryPrimitives.WriteUInt64LittleEndian(file, length);
            var before = GC.GetAllocatedBytesForCurrentThread();
            AssertRefused(() => SafetensorsCodec.Read(file, "hostile"), "hostile", "header length");
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        }
    }

    [Fact]
    public void A_name_with_line_breaks_stays_one_line_in_the_message()
    {
        var header = """{"a\nb":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""";
        AssertRefused(() => SafetensorsCodec.Read(Raw(header, new byte[8]), "file"), "tensor a b");
    }

    internal static byte[] Raw(string header, byte[] data)
    {
        var json = Encoding.UTF8.GetBytes(header);
        var prefix = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)json.Length);
        return [.. prefix, .. json, .. data];
    }

    private static AdapterState State(params (string Name, long[] Shape, float[] Data)[] arrays) =>
        new(arrays.Select(static array => KeyValuePair.Create(array.Name, new NamedArray(array.Shape, array.Data))));

    private static byte[] Bytes(AdapterState state)
    {
        using var stream = new MemoryStream();
        SafetensorsCodec.Write(state, Metadata, stream);
        return stream.ToArray();
    }

    private static void AssertRefused(Action action, params string[] expected)
    {
        var message = Assert.Throws<BadInputException>(action).Message;
        Assert.DoesNotContain('\n', message);
        Assert.All(expected, part => Assert.Contains(part, message, StringComparison.Ordinal));
    }
}
