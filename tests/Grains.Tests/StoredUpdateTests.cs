using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

public sealed class StoredUpdateTests : IDisposable
{
    private const string Key = "jobs/job/rounds/1/1/updates/a.safetensors";
    private const string Mismatch = $"^{Key} has digest [0-9a-f]{{64}}, expected [0-9a-f]{{64}}\\.$";
    private static readonly AdapterState State = new(
    [
        new("a", new NamedArray([2, 3], [1, 2, 3, 4, 5, 6])), new("b", new NamedArray([200_000], [.. Enumerable.Repeat(0.5f, 200_000)])),
    ]);

    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-").FullName;
    private readonly DirectoryBlobStore _store;

    public StoredUpdateTests() => _store = new DirectoryBlobStore(_folder);

    [Fact]
    public async Task An_update_is_read_as_it_was_written()
    {
        var blob = await WriteAsync();

        Assert.Equal(State.Values.SelectMany(static array => array.Data), await ReadAsync(blob));
    }

    [Theory]
    [InlineData(20)] // in the header
    [InlineData(200)] // in a number
    [InlineData(-1)] // the last
    public async Task A_byte_that_was_changed_is_found_when_all_is_read(int place)
    {
        var blob = await WriteAsync();
        var bytes = await File.ReadAllBytesAsync(Path.Combine(_folder, Key));
        bytes[place < 0 ? bytes.Length + place : place] ^= 1;
        await File.WriteAllBytesAsync(Path.Combine(_folder, Key), bytes);

        Assert.Matches(Mismatch, (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(blob))).Message);
    }

    [Theory, InlineData(3), InlineData(40), InlineData(1_000)]
    public async Task An_update_that_was_cut_is_not_the_one_that_was_named(int length)
    {
        var blob = await WriteAsync();
        await File.WriteAllBytesAsync(Path.Combine(_folder, Key), (await File.ReadAllBytesAsync(Path.Combine(_folder, Key)))[..length]);

        Assert.Matches(Mismatch, (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(blob))).Message);
    }

    [Fact]
    public async Task What_was_named_and_is_no_safetensors_file_is_refused_as_that()
    {
        var written = await _store.WriteBytesAsync(Key, "no tensors"u8.ToArray(), WriteCondition.Any, CancellationToken.None);

        Assert.Equal(
            $"{Key} is not a safetensors file.", (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(written.Ref))).Message);
    }

    [Fact]
    public async Task An_update_that_is_not_there_is_missing() =>
        Assert.Equal(
            $"{Key} is missing; it should hold digest.",
            (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(new BlobRef(Key, "digest", 1)))).Message);

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private Task<BlobRef> WriteAsync() => _store.WriteStateAsync(Key, State, new Dictionary<string, string>(), CancellationToken.None);

    private async Task<float[]> ReadAsync(BlobRef blob)
    {
        await using var update = await StoredUpdate.OpenAsync(_store, blob, CancellationToken.None);
        var read = new List<float>();
        foreach (var tensor in update.Tensors)
        {
            var values = new float[tensor.Count];
            for (var start = 0; start < values.Length; start += 65_536)
                update.Read(values.AsSpan(start, Math.Min(65_536, values.Length - start)));
            read.AddRange(values);
        }

        update.Finish();
        return [.. read];
    }
}
