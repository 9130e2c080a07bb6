import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command-line tools one after the other in one process: most of what a tool takes otherwise is the start of
 * its virtual machine.
 *
 * Each line of standard input is a tool's class and its arguments, separated by tabs. What the tool prints, on either
 * stream, goes to standard output, followed by a line with a zero byte and the tool's exit status.
 */
public class Tools {
    private static CompletableFuture<Integer> exit;

    public static void main(String[] none) throws Exception {
        System.setErr(System.out);
        Exit.setExitProcedure((status, message) -> {
            exit.complete(status);
            // A tool's own code must not go on after this; an exception might be caught by it.
            while (true) {
                LockSupport.park();
            }
        });
        var commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split("\t");
            exit = new CompletableFuture<>();
            var tool = new Thread(() -> exit.complete(run(words[0], Arrays.copyOfRange(words, 1, words.length))));
            tool.setDaemon(true);
            tool.start();
            int status = exit.get();
            System.out.println("\n\0" + status);
            System.out.flush();
        }
    }

    private static int run(String name, String[] args) {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
            return 0;
        } catch (InvocationTargetException thrown) {
            thrown.getCause().printStackTrace();
        } catch (ReflectiveOperationException noTool) {
            noTool.printStackTrace();
        }
        return 1;
    }
}
