using System.Security.Cryptography;
using FedRLora.Abstractions;
using FedRLora.Training.Inputs;

namespace FedRLora.Training.Tests.Inputs;

[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class FileDigestsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Cache => _folder.File("home/cache/digests");

    // Ten seconds after whatever the test writes.
    private FileDigests Process(string? cache = "") =>
        new(new DigestCache(cache is "" ? Cache : cache), new Later(TimeSpan.FromSeconds(10)));

    private string Weights(string name = "model.safetensors", byte last = 1, int length = 64)
    {
        var path = _folder.File(name);
        File.WriteAllBytes(path, [16, 0, 0, 0, 0, 0, 0, 0, .. "{}              "u8, .. new byte[length], last]);
        return path;
    }

    private static string Sha256(string path) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)));

    [Fact]
    public void Content_is_read_once_for_all_processes_of_a_user()
    {
        var path = Weights();
        var (first, second) = (Process(), Process());

        var digests = new[] { first.Of(path, isWeights: true), first.Of(path, isWeights: true), second.Of(path, isWeights: true) };

        Assert.All(digests, digest => Assert.Equal((Sha256(path), 89L), digest));
        Assert.Equal((89, 0), (first.BytesRead, second.BytesRead));
    }

    [Fact]
    public void Many_at_once_read_a_file_once()
    {
        var path = Weights(length: 5_000_000);
        var process = Process();

        Parallel.For(0, 8, _ => Assert.Equal(Sha256(path), process.Of(path, isWeights: true).Sha256));

        Assert.Equal(new FileInfo(path).Length, process.BytesRead);
    }

    [Fact]
    public void An_edit_in_place_of_the_same_length_with_its_time_set_back_is_noticed()
    {
        var path = Weights();
        var written = File.GetLastWriteTimeUtc(path);
        var (process, before) = (Process(), Process().Of(path, isWeights: true));
        process.Of(path, isWeights: true);

        Rewrite(path, written);

        Assert.Equal(written, File.GetLastWriteTimeUtc(path));
        Assert.NotEqual(before, process.Of(path, isWeights: true));
        Assert.Equal(Sha256(path), process.Of(path, isWeights: true).Sha256);
        Assert.Equal(Sha256(path), Process().Of(path, isWeights: true).Sha256);
    }

    [Fact]
    public void A_file_that_was_only_touched_is_read_again_and_is_the_same()
    {
        var path = Weights();
        var (process, before) = (Process(), Process().Of(path, isWeights: true));
        process.Of(path, isWeights: true);

        File.SetLastWriteTimeUtc(path, new DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc));

        Assert.Equal(before, process.Of(path, isWeights: true));
        Assert.Equal(89, process.BytesRead);
    }

    [Fact]
    public void What_changed_just_before_it_was_read_is_not_remembered()
    {
        var path = Weights();
        var process = new FileDigests(new DigestCache(Cache), TimeProvider.System);

        process.Of(path, isWeights: true);
        process.Of(path, isWeights: true);

        Assert.Equal(2 * 89, process.BytesRead);
        Assert.False(Directory.Exists(Cache));
        Assert.Null(process.SettledStampOf(path));
        Assert.NotNull(Process().SettledStampOf(path));
    }

    [Fact]
    public void Links_lead_to_the_same_file()
    {
        var path = Weights();
        File.CreateSymbolicLink(_folder.File("link.safetensors"), path);
        var process = Process();

        Assert.Equal(process.Of(path, isWeights: true), process.Of(_folder.File("link.safetensors"), isWeights: true));
        Assert.Equal(89, process.BytesRead);
    }

    [Fact]
    public void The_cache_is_the_users_alone()
    {
        Process().Of(Weights(), isWeights: true);

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Assert.Single(Directory.GetFiles(Cache))));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Cache));
    }

    [Theory]
    [InlineData("")]
    [InlineData("nonsense\n")]
    [InlineData(null)]
    public void A_cache_entry_that_was_torn_or_edited_is_none(string? content)
    {
        var path = Weights();
        Process().Of(path, isWeights: true);
        var entry = Assert.Single(Directory.GetFiles(Cache));
        File.WriteAllText(entry, content ?? File.ReadAllText(entry).Replace(Sha256(path), new string('a', 64), StringComparison.Ordinal));

        var process = Process();

        Assert.Equal(Sha256(path), process.Of(path, isWeights: true).Sha256);
        Assert.Equal(89, process.BytesRead);
        Assert.Equal(0, ReadByAnother(path)); // and it is mended
    }

    [Fact]
    public void A_header_that_is_not_the_remembered_one_tells_that_the_cache_lies()
    {
        var path = Weights();
        var stamp = FileStamp.Of(path)!.Value;
        new DigestCache(Cache).Keep(stamp, "another header", new string('a', 64)); // as on a file system that reuses stamps

        Assert.Equal(Sha256(path), Process().Of(path, isWeights: true).Sha256);
    }

    [Fact]
    public void Without_a_folder_that_can_be_written_it_works_and_reads_again()
    {
        var path = Weights();
        File.WriteAllText(_folder.File("file"), "");

        foreach (var cache in new[] { null, _folder.File("file/below/a/file"), "/proc/nowhere" })
        {
            Assert.Equal(Sha256(path), Process(cache).Of(path, isWeights: true).Sha256);
            var again = Process(cache);
            again.Of(path, isWeights: true);
            Assert.Equal(89, again.BytesRead);
        }
    }

    [Fact]
    public void The_cache_does_not_grow_for_ever()
    {
        var cache = new DigestCache(Cache);
        for (var i = 0; i < 1010; i++) cache.Keep(new FileStamp(1, (ulong)i, 1, 1, 1), "", new string('a', 64));

        Assert.Equal(1000, Directory.GetFiles(Cache).Length);
        Assert.NotNull(cache.Find(new FileStamp(1, 1009, 1, 1, 1), ""));
    }

    [Fact]
    public void A_stamp_is_what_the_file_system_says()
    {
        var path = Weights();
        var stamp = FileStamp.Of(path)!.Value;
        var info = new FileInfo(path);

        Assert.Equal(info.Length, stamp.SizeBytes);
        Assert.Equal((info.LastWriteTimeUtc - DateTime.UnixEpoch).Ticks, stamp.Modified / TimeSpan.NanosecondsPerTick);
        Assert.True(stamp.Inode > 0);
        Assert.NotEqual(stamp.Inode, FileStamp.Of(Weights("other.safetensors"))!.Value.Inode);
        Assert.Null(FileStamp.Of(_folder.File("nowhere")));
    }

    [Fact]
    public void A_file_that_is_not_there_is_named()
    {
        var refused = Assert.Throws<BadInputException>(() => Process().Of(_folder.File("nowhere.json"), isWeights: false));

        Assert.StartsWith(_folder.File("nowhere.json"), refused.Message, StringComparison.Ordinal);
    }

    private long ReadByAnother(string path)
    {
        var process = Process();
        process.Of(path, isWeights: true);
        return process.BytesRead;
    }

    // ctime moves by the kernel's tick: the file is written until it has moved.
    private static void Rewrite(string path, DateTime written)
    {
        var before = FileStamp.Of(path)!.Value.Changed;
        do
        {
            using (var file = new FileStream(path, FileMode.Open))
            {
                file.Seek(-1, SeekOrigin.End);
                file.WriteByte(2);
            }

            File.SetLastWriteTimeUtc(path, written);
        }
        while (FileStamp.Of(path)!.Value.Changed == before);
    }

    private sealed class Later(TimeSpan by) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + by;
    }
}
